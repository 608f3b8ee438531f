// Tests of the page's modules that need no page. What fails stands in `window.results`.

import { TEXTS } from "/page/i18n.js";
import { inlinesOf, parse, safeAddress } from "/page/markdown.js";
import { FIELDS, readField, validSettings } from "/page/sampling.js";
import { EventParser } from "/page/sse.js";
import { ImportError, exportMessages, exportTree, importText } from "/page/transfer.js";
import * as tree from "/page/tree.js";

const results = [];

function test(name, body) {
  try {
    body();
    results.push({ name, error: null });
  } catch (error) {
    results.push({ name, error: String(error?.message ?? error) });
  }
}

function equal(found, expected) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`found ${a}, expected ${b}`);
}

const strong = (...inlines) => ({ kind: "strong", inlines });
const emphasis = (...inlines) => ({ kind: "emphasis", inlines });
const code = (text) => ({ kind: "code", text });
const link = (href, ...inlines) => ({ kind: "link", href, inlines });
const lineBreak = { kind: "break" };
const paragraph = (...inlines) => ({ kind: "paragraph", inlines });

/** Blocks without the lines that they were read from. */
function blocks(text) {
  return JSON.parse(JSON.stringify(parse(text), (key, value) => (key === "source" ? undefined : value)));
}

const INLINES = [
  ["plain", ["plain"]],
  ["**a** and *b*", [strong("a"), " and ", emphasis("b")]],
  ["__a__ _b_", [strong("a"), " ", emphasis("b")]],
  ["***both***", [strong(emphasis("both"))]],
  ["**a *b* c**", [strong("a ", emphasis("b"), " c")]],
  ["**你好。**然后", [strong("你好。"), "然后"]],
  ["~~gone~~ ~kept~", [{ kind: "deleted", inlines: ["gone"] }, " ~kept~"]],
  ["2 * 3 * 4", ["2 * 3 * 4"]],
  ["snake_case_name", ["snake_case_name"]],
  ["**not closed", ["**not closed"]],
  ["**a *b**", ["**a ", emphasis("b"), "*"]],
  ["`a *b*` ``c ` d``", [code("a *b*"), " ", code("c ` d")]],
  ["`open", ["`open"]],
  ["one\ntwo  \nthree", ["one", lineBreak, "two", lineBreak, "three"]],
  ["\\*a\\* \\(x^2\\)", ["*a* \\(x^2\\)"]],
  ["<b>&lt;</b>", ["<b>&lt;</b>"]],
  ["[a](https://b.c/d_(e))", [link("https://b.c/d_(e)", "a")]],
  ["[a](http://b.c 'title') [*d*](https://e.f)", [link("http://b.c/", "a"), " ", link("https://e.f/", emphasis("d"))]],
  ["![cat](https://b.c/cat.png)", [link("https://b.c/cat.png", "cat")]],
  ["[a](javascript:alert(1))", ["[a](javascript:alert(1))"]],
  ["[a](data:text/html,x) [b](/c)", ["[a](data:text/html,x) [b](/c)"]],
  ["<https://a.b/c>", [link("https://a.b/c", "https://a.b/c")]],
  ["at https://a.b/c, or (https://d.e).", ["at ", link("https://a.b/c", "https://a.b/c"), ", or (", link("https://d.e/", "https://d.e"), ")."]],
  ["见https://a.b/c。", ["见https://a.b/c。"]],
  ["见 https://a.b/c。好", ["见 ", link("https://a.b/c", "https://a.b/c"), "。好"]],
  ["[https://a.b](https://c.d)", [link("https://c.d/", "https://a.b")]],
];

for (const [text, expected] of INLINES) test(`inlines of ${text}`, () => equal(inlinesOf(text), expected));

const list = (ordered, start, ...items) => ({ kind: "list", ordered, start, items });
const item = (...inner) => ({ checked: null, blocks: inner });

const BLOCKS = [
  ["", []],
  ["a\n\nb", [paragraph("a"), paragraph("b")]],
  ["# A\n### B ##\n#no", [
    { kind: "heading", level: 1, inlines: ["A"] },
    { kind: "heading", level: 3, inlines: ["B"] },
    paragraph("#no"),
  ]],
  ["```js\nlet a = \"<b>\";\n\n```\nafter", [{ kind: "code", language: "js", text: "let a = \"<b>\";\n" }, paragraph("after")]],
  ["~~~\n```\n~~~", [{ kind: "code", language: "", text: "```" }]],
  ["```py\nstill being wri", [{ kind: "code", language: "py", text: "still being wri" }]],
  ["> a\n> > b", [{ kind: "quote", blocks: [paragraph("a"), { kind: "quote", blocks: [paragraph("b")] }] }]],
  ["- a\n- b", [list(false, null, item(paragraph("a")), item(paragraph("b")))]],
  ["3. a\n4. b", [list(true, 3, item(paragraph("a")), item(paragraph("b")))]],
  ["- a\n  - b\n- c", [list(false, null, item(paragraph("a"), list(false, null, item(paragraph("b")))), item(paragraph("c")))]],
  ["1. a\n   more\n\n   ```\n   x\n   ```\n2. b", [
    list(true, 1, item(paragraph("a", lineBreak, "more"), { kind: "code", language: "", text: "x" }), item(paragraph("b"))),
  ]],
  ["1. a\n\n2. b\n\nafter", [list(true, 1, item(paragraph("a")), item(paragraph("b"))), paragraph("after")]],
  ["- [x] done\n- [ ] open", [
    list(false, null, { checked: true, blocks: [paragraph("done")] }, { checked: false, blocks: [paragraph("open")] }),
  ]],
  ["a\n- b", [paragraph("a"), list(false, null, item(paragraph("b")))]],
  ["a\n---\n* * *", [paragraph("a"), { kind: "rule" }, { kind: "rule" }]],
  ["| a | b |\n|:--|--:|\n| 1 | `x|y` |\n| 2 |", [{
    kind: "table",
    aligns: ["left", "right"],
    head: [["a"], ["b"]],
    rows: [[["1"], [code("x|y")]], [["2"], []]],
  }]],
  ["a | b", [paragraph("a | b")]],
  ["<script>alert(1)</script>", [paragraph("<script>alert(1)</script>")]],
];

for (const [text, expected] of BLOCKS) test(`blocks of ${text}`, () => equal(blocks(text), expected));

test("a growing text keeps its finished blocks", () => {
  const text = "# A\n\none **two**\n\n- a\n- b\n\n```\nx\n```\n\nend";
  const whole = parse(text).map((block) => block.source);
  for (let end = 0; end <= text.length; end += 1) {
    const part = parse(text.slice(0, end)).map((block) => block.source);
    const finished = part.slice(0, -1).map((source) => source.trim());
    equal(finished, whole.slice(0, finished.length).map((source) => source.trim()));
  }
});

test("long lines of marks take no time to speak of", () => {
  const start = performance.now();
  const texts = ["*", "_a ", "[", "`a``", "> ", "- ", "**a", "![](", "a*", "|", "- a\n", "[a](http://x.y/", "https://a.b"];
  for (const text of texts) parse(text.repeat(20000));
  // Quadratic behaviour would take minutes.
  if (performance.now() - start > 10000) throw new Error(`${performance.now() - start} ms`);
});

test("addresses of the web alone are followed", () => {
  equal(safeAddress("HTTPS://a.b"), "https://a.b/");
  for (const address of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "file:///etc", "//a.b", "x", ""]) {
    equal(safeAddress(address), null);
  }
});

test("events arrive whole however they are cut", () => {
  const stream = ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\ndata: one\ndata:two\n\nid: 3\r\rdata\n\ndata: [DONE]\n\n";
  const expected = ["{\"a\":1}", "one\ntwo", "", "[DONE]"];
  for (let size = 1; size <= stream.length; size += 1) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < stream.length; at += size) events.push(...parser.push(stream.slice(at, at + size)));
    equal(events, expected);
  }
});

/** Two questions with answers, the first with another answer and another wording. */
function grown() {
  const conversation = tree.newConversation({ models: ["base", "tuned"] });
  conversation.system = "Be brief.";
  const part = (model, text) => ({ ...tree.newPart(model), text, state: "done" });
  const first = tree.addQuestion(conversation, null, "one?");
  const reply = tree.addReply(conversation, first.id, [part("base", "b1"), part("tuned", "t1")]);
  const second = tree.addQuestion(conversation, reply.id, "two?");
  const end = tree.addReply(conversation, second.id, [part("base", "b2"), part("tuned", "")]);
  const again = tree.addReply(conversation, first.id, [part("base", "b1b"), part("tuned", "t1b")]);
  const other = tree.addQuestion(conversation, null, "uno?");
  return { conversation, first, reply, second, end, again, other };
}

const texts = (nodes) => nodes.map((node) => node.text ?? node.parts[0].text);

test("what was added last is shown", () => {
  const { conversation, first, reply } = grown();
  equal(texts(tree.shown(conversation)), ["uno?"]);
  tree.choose(conversation, first);
  equal(texts(tree.shown(conversation)), ["one?", "b1b"]);
  tree.choose(conversation, reply);
  equal(texts(tree.shown(conversation)), ["one?", "b1", "two?", "b2"]);
  equal(tree.siblings(conversation, reply).length, 2);
  equal(tree.siblings(conversation, first).length, 2);
});

test("each column goes on from its own answers", () => {
  const { conversation, second, end } = grown();
  const asked = (lane, model, node = second) =>
    tree.messagesFor(conversation, node, lane, model).map(({ role, content }) => `${role[0]}:${content}`);
  equal(asked(0, "base"), ["s:Be brief.", "u:one?", "a:b1", "u:two?"]);
  equal(asked(1, "tuned"), ["s:Be brief.", "u:one?", "a:t1", "u:two?"]);
  // Alone, a model finds what it said as one of two; a model that said nothing gets its column's.
  equal(asked(0, "tuned"), ["s:Be brief.", "u:one?", "a:t1", "u:two?"]);
  equal(asked(1, "third"), ["s:Be brief.", "u:one?", "a:t1", "u:two?"]);
  // A question without an answer is left out.
  const next = tree.addQuestion(conversation, end.id, "three?");
  equal(asked(1, "tuned", next), ["s:Be brief.", "u:one?", "a:t1", "u:three?"]);
});

test("a conversation is named by its first question", () => {
  const { conversation } = grown();
  equal(tree.titleOf(conversation), "uno?");
  conversation.title = "mine";
  equal(tree.titleOf(conversation), "mine");
  const long = tree.newConversation();
  tree.addQuestion(long, null, `${"字".repeat(80)}\nmore`);
  equal(tree.titleOf(long), `${"字".repeat(59)}…`);
});

test("answers that a closed page left are stopped", () => {
  const { conversation, end } = grown();
  end.parts[1].state = "writing";
  tree.settle(conversation);
  equal(end.parts[1].state, "stopped");
});

test("an exported conversation comes back with all its branches", () => {
  const { conversation, first, reply } = grown();
  tree.choose(conversation, first);
  tree.choose(conversation, reply);
  conversation.settings = { temperature: 0, seed: 7 };
  const back = importText(exportTree(conversation));
  equal(texts(tree.shown(back)), texts(tree.shown(conversation)));
  equal(back.nodes.length, conversation.nodes.length);
  equal([back.system, back.models, back.settings], [conversation.system, conversation.models, conversation.settings]);
  if (back.id === conversation.id) throw new Error("an import must not replace what is there");
});

test("messages go out and come back", () => {
  const { conversation, first, reply } = grown();
  tree.choose(conversation, first);
  tree.choose(conversation, reply);
  const messages = JSON.parse(exportMessages(conversation, 0));
  equal(messages.map(({ role }) => role), ["system", "user", "assistant", "user", "assistant"]);
  const back = importText(JSON.stringify(messages));
  equal(back.system, "Be brief.");
  equal(texts(tree.shown(back)), ["one?", "b1", "two?", "b2"]);
  equal(texts(tree.shown(importText(JSON.stringify({ messages })))), ["one?", "b1", "two?", "b2"]);
});

test("files that are no conversations are refused with their reason", () => {
  const nodes = (...list) => JSON.stringify({ format: tree.FORMAT, version: 1, nodes: list });
  const cases = [
    ["{", "importNotJson"],
    ["{}", "importUnknownForm"],
    ["null", "importUnknownForm"],
    ["[]", "importEmpty"],
    ["[null]", "importNoText"],
    ['[{"role":"user"}]', "importNoText"],
    ['[{"role":"tool","content":"x"}]', "importRole"],
    ['[{"role":"user","content":"x"},{"role":"system","content":"y"}]', "importRole"],
    [JSON.stringify({ format: tree.FORMAT, version: 2, nodes: [] }), "importVersion"],
    [nodes({ id: "a", parent: "b", role: "user", text: "x" }), "importParent"],
    [nodes({ id: "a", parent: "a", role: "user", text: "x" }), "importParent"],
    [nodes({ id: "a", parent: null, role: "assistant", parts: [] }), "importNoText"],
    [nodes({ id: "a", parent: null, role: "assistant", parts: [{ text: 1 }] }), "importNoText"],
    [nodes(null), "importParent"],
  ];
  for (const [text, reason] of cases) {
    try {
      importText(text);
    } catch (error) {
      if (error instanceof ImportError && error.reason === reason) continue;
      throw new Error(`${text}: ${error.reason ?? error}, expected ${reason}`);
    }
    throw new Error(`${text} was taken`);
  }
});

test("an import takes over nothing that it does not know", () => {
  const hostile = `{"format": "${tree.FORMAT}", "version": 1, "__proto__": {"polluted": 1}, "id": "../x",
    "settings": {"temperature": "hot", "top_p": 0.5, "other": 1}, "models": [1, "a", "b", "c"],
    "nodes": [{"id": "__proto__", "parent": null, "role": "user", "text": "x", "extra": 1}], "chosen": {"": "__proto__"}}`;
  const conversation = importText(hostile);
  equal(conversation.settings, { top_p: 0.5 });
  equal(conversation.models, ["a", "b"]);
  equal(Object.keys(conversation.nodes[0]), ["id", "parent", "role", "text"]);
  equal({}.polluted, undefined);
  equal(texts(tree.shown(conversation)), ["x"]);
});

test("fields take what the server takes", () => {
  const field = (name) => FIELDS.find((candidate) => candidate.name === name);
  const cases = [
    ["temperature", "0", 0], ["temperature", " 0.7 ", 0.7], ["temperature", "2.1", undefined],
    ["temperature", "-1", undefined], ["temperature", "", null], ["temperature", "0x1", undefined],
    ["top_p", "0", undefined], ["top_p", "1", 1], ["top_p", ".5", 0.5],
    ["top_k", "5", 5], ["top_k", "5.5", undefined], ["max_tokens", "0", undefined],
    ["seed", "9007199254740993", undefined], ["seed", "1e3", 1000], ["seed", "Infinity", undefined],
  ];
  for (const [name, text, value] of cases) {
    const read = readField(field(name), text);
    if (read !== value) throw new Error(`${name} "${text}": ${read}, expected ${value}`);
  }
  equal(validSettings({ temperature: 3, seed: 1, x: 2 }), { seed: 1 });
  equal(validSettings(null), {});
});

test("both languages say everything, with the same gaps to fill", () => {
  equal(Object.keys(TEXTS.zh).sort(), Object.keys(TEXTS.en).sort());
  const gaps = (text) => [...new Set(text.match(/\{\w+\}/g))].sort();
  for (const [name, text] of Object.entries(TEXTS.en)) equal([name, gaps(TEXTS.zh[name])], [name, gaps(text)]);
});

window.results = results;
