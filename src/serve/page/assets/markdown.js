// Markdown as models write it, read into plain objects; `view/prose.js` makes elements of them. HTML is text here.
//
// Blocks: {kind: "heading", level, inlines} {kind: "paragraph", inlines} {kind: "code", language, text} {kind: "rule"}
// {kind: "quote", blocks} {kind: "list", ordered, start, items: [{checked, blocks}]}
// {kind: "table", aligns, head, rows}. A top-level block also has `source`, the lines that it was read from.
// Inlines: strings and {kind: "strong"|"emphasis"|"deleted", inlines} {kind: "code", text} {kind: "break"}
// {kind: "link", href, inlines}.

/** Quotes and lists nested deeper than this are shown as text. */
const DEEPEST = 16;

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:( +)(.*)|[ \t]*)$/;
const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** The blocks of a text. */
export function parse(text) {
  return blocksOf(text.replace(/\r\n?/g, "\n").replaceAll("\t", "    ").split("\n"), 0);
}

function blocksOf(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (lines[at].trim() === "") {
      at += 1;
      continue;
    }
    const [block, next] = blockAt(lines, at, depth);
    block.source = lines.slice(at, next).join("\n");
    blocks.push(block);
    at = next;
  }
  return blocks;
}

/** The block that starts at a line, and the line after it. */
function blockAt(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return codeAt(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) {
    const inlines = inlinesOf(heading[2] ?? "");
    return [{ kind: "heading", level: heading[1].length, inlines }, at + 1];
  }
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEEPEST) {
    if (QUOTE.test(line)) return quoteAt(lines, at, depth);
    if (ITEM.test(line)) return listAt(lines, at, depth);
  }
  if (isTable(lines, at)) return tableAt(lines, at);
  return paragraphAt(lines, at, depth);
}

/** An unclosed fence goes on to the end: the answer is still being written. */
function codeAt(lines, at, [, indent, mark, info]) {
  const body = [];
  let next = at + 1;
  for (; next < lines.length; next += 1) {
    const trimmed = lines[next].trim();
    if (trimmed.length >= mark.length && trimmed === mark[0].repeat(trimmed.length)) {
      next += 1;
      break;
    }
    body.push(withoutIndent(lines[next], indent.length));
  }
  if (next === lines.length && body.at(-1) === "") body.pop();
  const language = info.trim().split(/\s/, 1)[0];
  return [{ kind: "code", language, text: body.join("\n") }, next];
}

function withoutIndent(line, width) {
  let cut = 0;
  while (cut < width && line[cut] === " ") cut += 1;
  return line.slice(cut);
}

function quoteAt(lines, at, depth) {
  const inner = [];
  let next = at;
  for (; next < lines.length && QUOTE.test(lines[next]); next += 1) {
    inner.push(lines[next].replace(QUOTE, ""));
  }
  return [{ kind: "quote", blocks: blocksOf(inner, depth + 1) }, next];
}

function listAt(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  const ordered = /\d/.test(first[2]);
  const items = [];
  let next = at;
  while (next < lines.length) {
    const item = ITEM.exec(lines[next]);
    if (!item || RULE.test(lines[next])) break;
    if (markOf(item) !== markOf(first) || item[1].length > first[1].length + 3) break;
    const [inner, after] = itemAt(lines, next, item);
    items.push(itemOf(inner, depth));
    next = after;
  }
  const start = ordered ? Number.parseInt(first[2], 10) : null;
  return [{ kind: "list", ordered, start, items }, next];
}

/** Items of one list have the same bullet, or the same character after their number. */
function markOf(item) {
  return item[2].at(-1);
}

/** The lines of an item without their indentation, and the line after it. */
function itemAt(lines, at, [, indent, mark, gap = " ", content = ""]) {
  const width = indent.length + mark.length + (gap.length > 4 ? 1 : gap.length);
  const inner = [content];
  let next = at + 1;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    const deep = line.length - line.trimStart().length;
    if (line.trim() === "") {
      if (!goesOnAfterBlank(lines, next, indent.length, width)) break;
      inner.push("");
    } else if (deep >= Math.min(width, indent.length + 2)) {
      inner.push(withoutIndent(line, width));
    } else if (ITEM.test(line) || startsBlock(line) || inner.at(-1) === "") {
      break;
    } else {
      inner.push(line.trimStart());
    }
  }
  return [inner, next];
}

/** Whether what follows blank lines is indented as the item's content is, or is the next item of its list. */
function goesOnAfterBlank(lines, at, indent, width) {
  let next = at;
  while (next < lines.length && lines[next].trim() === "") next += 1;
  if (next === lines.length) return false;
  const deep = lines[next].length - lines[next].trimStart().length;
  const item = ITEM.exec(lines[next]);
  if (item && deep <= indent + 1) return next > at;
  return deep >= Math.min(width, indent + 2);
}

function itemOf(inner, depth) {
  const task = /^\[([ xX])\] +/.exec(inner[0]);
  if (!task) return { checked: null, blocks: blocksOf(inner, depth + 1) };
  const rest = [inner[0].slice(task[0].length), ...inner.slice(1)];
  return { checked: task[1] !== " ", blocks: blocksOf(rest, depth + 1) };
}

function isTable(lines, at) {
  const rule = lines[at + 1];
  if (rule === undefined || !lines[at].includes("|") || !TABLE_RULE.test(rule)) return false;
  return cellsOf(lines[at]).length === cellsOf(rule).length;
}

function tableAt(lines, at) {
  const head = cellsOf(lines[at]).map(inlinesOf);
  const aligns = cellsOf(lines[at + 1]).map((rule) => {
    if (rule.endsWith(":")) return rule.startsWith(":") ? "center" : "right";
    return rule.startsWith(":") ? "left" : null;
  });
  const rows = [];
  let next = at + 2;
  for (; next < lines.length && lines[next].includes("|"); next += 1) {
    const cells = cellsOf(lines[next]).slice(0, head.length).map(inlinesOf);
    while (cells.length < head.length) cells.push([]);
    rows.push(cells);
  }
  return [{ kind: "table", aligns, head, rows }, next];
}

/** A bar inside of code or after a backslash does not part cells. */
function cellsOf(line) {
  const cells = [];
  let cell = "";
  let inCode = false;
  const row = line.trim().replace(/^\|/, "");
  for (let at = 0; at < row.length; at += 1) {
    if (row[at] === "\\" && row[at + 1] === "|") {
      cell += "|";
      at += 1;
    } else if (row[at] === "|" && !inCode) {
      cells.push(cell.trim());
      cell = "";
    } else {
      if (row[at] === "`") inCode = !inCode && row.includes("`", at + 1);
      cell += row[at];
    }
  }
  if (cell.trim() !== "" || cells.length === 0) cells.push(cell.trim());
  return cells;
}

function paragraphAt(lines, at, depth) {
  const body = [lines[at].trimStart()];
  let next = at + 1;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    if (line.trim() === "" || startsBlock(line) || isTable(lines, next)) break;
    if (depth < DEEPEST && (QUOTE.test(line) || ITEM.test(line))) break;
    body.push(line.trimStart());
  }
  return [{ kind: "paragraph", inlines: inlinesOf(body.join("\n").trimEnd()) }, next];
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line);
}

const WORD = /[\p{L}\p{N}]/u;
const AUTOLINK = /<(https?:\/\/[^\s<>]{1,2000})>/y;
const BARE_LINK = /https?:\/\/[^\s<>"'`，。；：！？、（）《》「」【】]{1,2000}/y;
const LINK = /!?\[((?:[^[\]\\\n]|\\.){0,1000})\]\(\s*<?([^\s<>()]{0,1990}(?:\([^\s<>()]{0,1990}\)[^\s<>()]{0,1990}){0,4})>?(?:\s+(?:"[^"\n]{0,500}"|'[^'\n]{0,500}'))?\s*\)/y;

/** The inlines of a text. A line's end is a break: models mean it. */
export function inlinesOf(text) {
  return new InlineReader(text).read();
}

class InlineReader {
  #text;
  #at = 0;
  /** What was read, under the marks that are still open: `[{mark, inlines}]`. */
  #open = [{ mark: "", inlines: [] }];
  /** Lengths of runs of backticks that nothing closes further on. */
  #unclosed = new Set();

  constructor(text) {
    this.#text = text;
  }

  read() {
    while (this.#at < this.#text.length) this.#step();
    while (this.#open.length > 1) this.#giveUp();
    return this.#open[0].inlines;
  }

  #step() {
    const letter = this.#text[this.#at];
    switch (letter) {
      case "\n":
        return this.#lineBreak();
      case "\\":
        return this.#escape();
      case "`":
        return this.#code();
      case "<":
        return this.#match(AUTOLINK, (found) => this.#link(found[1], [found[1]]));
      case "!":
      case "[":
        return this.#match(LINK, (found) => this.#named(found));
      case "h":
        return this.#bareLink();
      case "*":
      case "_":
      case "~":
        return this.#mark(letter);
      default:
        return this.#plain();
    }
  }

  #put(inline) {
    const { inlines } = this.#open.at(-1);
    const isText = typeof inline === "string" && typeof inlines.at(-1) === "string";
    if (isText) inlines[inlines.length - 1] += inline;
    else if (inline !== "") inlines.push(inline);
  }

  /** Up to the next character that may mean something. */
  #plain() {
    const rest = /[\n\\`<![*_~h]/g;
    rest.lastIndex = this.#at + 1;
    const next = rest.exec(this.#text)?.index ?? this.#text.length;
    this.#put(this.#text.slice(this.#at, next));
    this.#at = next;
  }

  #lineBreak() {
    const { inlines } = this.#open.at(-1);
    if (typeof inlines.at(-1) === "string") {
      inlines[inlines.length - 1] = inlines.at(-1).replace(/ +$/, "");
    }
    this.#put({ kind: "break" });
    this.#at += 1;
  }

  /** Brackets and parentheses stay as they are: with a backslash they are formulas more often than escapes. */
  #escape() {
    const next = this.#text[this.#at + 1];
    if (next === undefined || !"\\`*_#|~<>+-.!".includes(next)) return this.#plain();
    this.#put(next);
    this.#at += 2;
  }

  #code() {
    const run = /`+/y;
    run.lastIndex = this.#at;
    const mark = run.exec(this.#text)[0];
    const start = this.#at + mark.length;
    const end = this.#unclosed.has(mark.length) ? -1 : this.#closing(mark, start);
    this.#at = start;
    if (end < 0) {
      this.#unclosed.add(mark.length);
      return this.#put(mark);
    }
    const inside = this.#text.slice(start, end).replaceAll("\n", " ");
    const isPadded = /^ .*[^ ].* $/.test(inside);
    this.#put({ kind: "code", text: isPadded ? inside.slice(1, -1) : inside });
    this.#at = end + mark.length;
  }

  #closing(mark, start) {
    const runs = /`+/g;
    runs.lastIndex = start;
    for (let run = runs.exec(this.#text); run; run = runs.exec(this.#text)) {
      if (run[0].length === mark.length) return run.index;
    }
    return -1;
  }

  #match(pattern, take) {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (!found || !take(found)) return this.#plain();
    this.#at += found[0].length;
  }

  /** `[text](address)`; an image is shown as the link to it, for the page loads nothing from elsewhere. */
  #named([, label, address]) {
    const inlines = label ? inlinesOf(label) : [address];
    return this.#link(address, inlines.map(unlinked));
  }

  #link(address, inlines) {
    const href = safeAddress(address);
    if (!href) return false;
    this.#put({ kind: "link", href, inlines });
    return true;
  }

  #bareLink() {
    if (WORD.test(this.#text[this.#at - 1] ?? "")) return this.#plain();
    return this.#match(BARE_LINK, (found) => {
      // What ends a sentence, or the emphasis around the address, does not belong to it.
      let address = found[0].replace(/[.,;:!?*_~|\]]+$/, "");
      if (address.endsWith(")") && !address.includes("(")) address = address.slice(0, -1);
      found[0] = address;
      return this.#link(address, [address]);
    });
  }

  #mark(letter) {
    const run = this.#runOf(letter);
    const before = this.#text[this.#at - 1] ?? " ";
    const after = this.#text[this.#at + run] ?? " ";
    const width = this.#widthOf(letter, run);
    const mark = letter.repeat(width);
    const isWord = letter === "_" && WORD.test(before) && WORD.test(after);
    if (isWord || (letter === "~" && run !== 2) || run > 3) {
      this.#put(letter.repeat(run));
      this.#at += run;
      return;
    }
    this.#at += width;
    const openAt = this.#open.findLastIndex((open) => open.mark === mark);
    if (openAt > 0 && !/\s/.test(before)) this.#close(openAt);
    else if (!/\s/.test(after) && this.#open.length < DEEPEST) this.#open.push({ mark, inlines: [] });
    else this.#put(mark);
  }

  #runOf(letter) {
    let run = 1;
    while (this.#text[this.#at + run] === letter) run += 1;
    return run;
  }

  /** Three marks are two of them: the innermost that is open closes first. */
  #widthOf(letter, run) {
    const { mark } = this.#open.at(-1);
    const closes = mark[0] === letter && mark.length <= run && !/\s/.test(this.#text[this.#at - 1]);
    return closes ? mark.length : Math.min(run, 2);
  }

  #close(openAt) {
    while (this.#open.length > openAt + 1) this.#giveUp();
    const { mark, inlines } = this.#open.pop();
    const kind = mark === "~~" ? "deleted" : mark.length === 2 ? "strong" : "emphasis";
    if (inlines.length === 0) this.#put(mark + mark);
    else this.#put({ kind, inlines });
  }

  /** The innermost open mark was no mark. */
  #giveUp() {
    const { mark, inlines } = this.#open.pop();
    this.#put(mark);
    for (const inline of inlines) this.#put(inline);
  }
}

/** A link inside of a link is its text. */
function unlinked(inline) {
  return inline.kind === "link" ? inline.inlines.join("") : inline;
}

/** An address of the web, or null. */
export function safeAddress(address) {
  try {
    const url = new URL(address);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}
