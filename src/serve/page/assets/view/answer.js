// One model's answer: its name, its text as it comes, what it cost, and what went wrong.

import { rateOf } from "../chat.js";
import { number, t } from "../i18n.js";
import { apiKey } from "../store.js";
import { button, fill, h, icon, iconButton } from "./dom.js";
import { explain, keyForm } from "./problems.js";
import { copyButton } from "./notices.js";

/** The view of part `lane` of a reply, its text in `prose`. `refresh` shows what has changed in it. */
export class Answer {
  #chat;
  #reply;
  #lane;
  #prose;
  #status = h("div", { class: "status" });
  #facts = h("p", { class: "facts" });
  #tools = h("div", { class: "tools" });
  #stop = h("span");
  #state = null;

  constructor(chat, reply, lane, prose) {
    this.#prose = prose;
    this.#chat = chat;
    this.#reply = reply;
    this.#lane = lane;
    this.element = h(
      "article",
      { class: "answer", "data-lane": lane },
      h("header", {}, h("h2", {}, this.name()), this.#stop),
      this.#prose.element,
      this.#status,
      h("footer", {}, this.#facts, this.#tools),
    );
    this.refresh();
  }

  get part() {
    return this.#reply.parts[this.#lane];
  }

  name() {
    return this.#chat.nameOf(this.part.model) || t("imported");
  }

  refresh() {
    const { part } = this;
    const isLive = part.state === "waiting" || part.state === "writing";
    this.#prose.show(part.text);
    this.element.setAttribute("aria-busy", String(isLive));
    this.element.dataset.state = part.state;
    this.#facts.textContent = factsOf(part);
    this.#facts.title = part.usage ? t("promptHint") : "";
    if (part.state === this.#state) return;
    this.#state = part.state;
    fill(this.#status, this.#statusOf(part));
    fill(this.#stop, isLive && this.#stopButton());
    fill(this.#tools, !isLive && this.#toolsOf(part));
  }

  #stopButton() {
    const label = t("stopOne", { model: this.name() });
    return iconButton("stop", label, () => this.#chat.stopPart(this.part));
  }

  #toolsOf(part) {
    const copy = part.text && copyButton(() => this.part.text, t("copy"));
    // Both columns at once have their button below both.
    const isOne = this.#reply.parts.length === 1;
    // What failed has a button of its own.
    const again = part.state !== "failed" && iconButton("again", t("regenerate"), () => this.#chat.regenerate(this.#reply, isOne ? null : this.#lane), {
      "data-focus": `again:${this.#lane}:${this.#reply.parent}`,
      disabled: this.#chat.isRunning() || !this.#reply.parent,
    });
    return [copy, again];
  }

  #statusOf(part) {
    if (part.state === "waiting") return h("p", { class: "waiting" }, t("waiting"));
    if (part.state === "failed") return this.#failure(part.error);
    if (part.state === "stopped") return h("p", { class: "note" }, t("stoppedNote"));
    if (part.finish === "length") return h("p", { class: "note" }, t("lengthNote"));
    if (part.state === "done" && !part.text) return h("p", { class: "note" }, t("emptyNote"));
    return null;
  }

  #failure(error) {
    const retry = () => this.#chat.retry(this.#reply, this.#lane);
    if (error.status === 401) {
      return keyForm(Boolean(apiKey()), async (key) => {
        await this.#chat.useKey(key);
        retry();
      });
    }
    return h(
      "div",
      { class: "failure" },
      h("p", { class: "problem" }, icon("warning"), h("span", {}, explain(error))),
      button("again", t("retry"), retry, { class: "plain", "data-focus": `retry:${this.#lane}:${this.#reply.id}` }),
    );
  }
}

/** "prompt 35 · 128 tokens · 24.3 tokens/s · first after 0.31 s". */
export function factsOf(part) {
  const facts = [];
  if (part.usage) {
    if (part.usage.prompt) facts.push(t("prompt", { count: number(part.usage.prompt) }));
    facts.push(t("tokens", { count: number(part.usage.completion) }));
  } else if (part.pieces) {
    // Each piece of the stream is a token or a few.
    facts.push(t("aboutTokens", { count: number(part.pieces) }));
  }
  const rate = rateOf(part);
  if (rate) facts.push(t("rate", { rate: number(rate, rate < 100 ? 1 : 0) }));
  if (part.first) facts.push(t("first", { seconds: number(part.first, 2) }));
  return facts.join(" · ");
}
