// Markdown as elements. All text becomes text nodes, and links lead to the web alone.

import { t } from "../i18n.js";
import { parse } from "../markdown.js";
import { copyButton } from "./notices.js";
import { h } from "./dom.js";

/** Shows a text that grows: only blocks that changed are made anew, so that a selection in the others stays. */
export class Prose {
  element = h("div", { class: "prose" });
  /** The source of each block that is shown. */
  #sources = [];

  /** Shows `text` in the place of what was shown. */
  show(text) {
    const blocks = parse(text);
    let same = 0;
    while (same < blocks.length && blocks[same].source === this.#sources[same]) same += 1;
    while (this.element.childNodes.length > same) this.element.lastChild.remove();
    this.element.append(...blocks.slice(same).map(blockElement));
    this.#sources = blocks.map((block) => block.source);
  }
}

function blockElement(block) {
  switch (block.kind) {
    case "heading":
      // The page's own headings are the first two levels.
      return h(`h${Math.min(block.level + 2, 6)}`, { class: `level${block.level}` }, inlineNodes(block.inlines));
    case "code":
      return codeElement(block);
    case "rule":
      return h("hr");
    case "quote":
      return h("blockquote", {}, block.blocks.map(blockElement));
    case "list":
      return listElement(block);
    case "table":
      return tableElement(block);
    default:
      return h("p", {}, inlineNodes(block.inlines));
  }
}

function codeElement({ language, text }) {
  const copy = copyButton(() => text, t("copyCode"));
  return h(
    "div",
    { class: "code" },
    h("div", { class: "codebar" }, h("span", {}, language), copy),
    // Reachable by keyboard, because it scrolls.
    h("pre", { tabindex: "0" }, h("code", {}, text)),
  );
}

function listElement({ ordered, start, items }) {
  const tag = ordered ? "ol" : "ul";
  const attributes = ordered && start !== 1 ? { start } : {};
  return h(tag, attributes, items.map(itemElement));
}

function itemElement({ checked, blocks }) {
  const [first, ...others] = blocks;
  // The first paragraph of an item stands beside its mark.
  const lead = first?.kind === "paragraph" ? inlineNodes(first.inlines) : first && blockElement(first);
  const box = checked !== null && h("input", { type: "checkbox", disabled: true, checked });
  return h("li", { class: checked === null ? null : "task" }, box, lead, others.map(blockElement));
}

function tableElement({ aligns, head, rows }) {
  const cells = (tag, row) =>
    row.map((inlines, at) => h(tag, { class: aligns[at] ? `to-${aligns[at]}` : null }, inlineNodes(inlines)));
  return h(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": t("table") },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, cells("th", head))),
      h("tbody", {}, rows.map((row) => h("tr", {}, cells("td", row)))),
    ),
  );
}

function inlineNodes(inlines) {
  return inlines.map((inline) => (typeof inline === "string" ? inline : inlineElement(inline)));
}

function inlineElement(inline) {
  switch (inline.kind) {
    case "strong":
      return h("strong", {}, inlineNodes(inline.inlines));
    case "emphasis":
      return h("em", {}, inlineNodes(inline.inlines));
    case "deleted":
      return h("del", {}, inlineNodes(inline.inlines));
    case "code":
      return h("code", {}, inline.text);
    case "link": {
      const { href } = inline;
      return h("a", { href, rel: "noopener noreferrer nofollow", target: "_blank", title: href }, inlineNodes(inline.inlines));
    }
    default:
      return h("br");
  }
}
