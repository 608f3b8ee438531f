// The messages that are shown, from the first question to the last answer.

import { number, t } from "../i18n.js";
import { shown } from "../tree.js";
import { Answer } from "./answer.js";
import { button, fill, focusMessage, h, iconButton } from "./dom.js";
import { explain } from "./problems.js";
import { announce } from "./notices.js";
import { Prose } from "./prose.js";
import { questionElement } from "./question.js";

/** How near to its end the thread follows what is written, in pixels. */
const NEAR = 80;

export class Thread {
  #chat;
  #thread = document.getElementById("thread");
  #scroller = document.getElementById("scroller");
  #latest = document.getElementById("latest");
  /** Part → its view. */
  #answers = new Map();
  /** Part → its text as elements, which outlive the view. */
  #proses = new WeakMap();
  #stale = new Set();
  #frame = null;
  /** Where the thread was last scrolled to by itself. */
  #followed = 0;

  constructor(chat) {
    this.#chat = chat;
    this.#latest.addEventListener("click", () => this.#toEnd());
    this.#scroller.addEventListener("scroll", () => this.#showLatest(), { passive: true });
    chat.addEventListener("opened", () => this.#open());
    chat.addEventListener("changed", ({ detail }) => this.#changed(detail));
    chat.addEventListener("models", () => this.show());
    chat.addEventListener("written", ({ detail }) => this.#written(detail.part));
    chat.addEventListener("ended", ({ detail }) => this.#ended(detail));
  }

  /** Shows the whole thread anew; answers that are shown already keep their elements. */
  show() {
    const path = shown(this.#chat.conversation);
    const before = this.#answers;
    this.#answers = new Map();
    const elements = path.map((node) =>
      node.role === "user"
        ? questionElement(this.#chat, node, this.#branches(node), () => this.show())
        : this.#replyElement(node, before),
    );
    const isWide = this.#chat.conversation.compare || path.some((node) => node.parts?.length > 1);
    document.body.classList.toggle("wide", isWide);
    fill(this.#thread, path.length > 0 ? elements : this.#welcome());
    this.#latest.setAttribute("aria-label", t("latest"));
    this.#latest.title = t("latest");
    this.#showLatest();
  }

  /** Forgets all elements, as another language needs. */
  reset() {
    this.#answers = new Map();
    this.#proses = new WeakMap();
    this.show();
  }

  #open() {
    this.reset();
    this.#toEnd();
  }

  #changed({ reply, fields }) {
    const isElsewhere = fields?.every((field) => field !== "models" && field !== "compare");
    if (isElsewhere) return;
    this.show();
    if (!reply) return;
    this.#follow();
    // The button that was pressed may be gone.
    if (document.activeElement === document.body) focusMessage();
    const models = reply.parts.map((part) => part.model || t("imported"));
    announce(t("announceStart", { models: models.join(", ") }));
  }

  #replyElement(node, before) {
    const answers = node.parts.map((part, lane) => this.#answer(node, part, lane, before));
    const parts = h("div", { class: node.parts.length > 1 ? "pair" : "single" }, answers);
    const branches = this.#branches(node);
    const both = node.parts.length > 1 && this.#regenerateBoth(node);
    const tools = (branches || both) && h("div", { class: "tools under" }, branches, both);
    return h("div", { class: "reply" }, parts, tools);
  }

  #answer(node, part, lane, before) {
    const known = before.get(part);
    if (!this.#proses.has(part)) this.#proses.set(part, new Prose());
    // Buttons of finished answers are disabled while another is written.
    const isKept = known && isLive(part);
    const answer = isKept ? known : new Answer(this.#chat, node, lane, this.#proses.get(part));
    this.#answers.set(part, answer);
    return answer.element;
  }

  #regenerateBoth(node) {
    return button("again", t("regenerateBoth"), () => this.#chat.regenerate(node), {
      "data-focus": `both:${node.parent}`,
      disabled: this.#chat.isRunning(),
    });
  }

  #branches(node) {
    const all = this.#chat.siblings(node);
    if (all.length < 2) return null;
    const at = all.indexOf(node);
    const values = { number: number(at + 1), count: number(all.length) };
    const step = (name, by) =>
      iconButton(name, t(name), () => this.#choose(all[at + by], at + by + 1, all.length), {
        disabled: at + by < 0 || at + by >= all.length || this.#chat.isRunning(),
        "data-focus": `${name}:${node.role}:${node.parent}`,
      });
    return h(
      "div",
      { class: "branches", role: "group", "aria-label": t("branch", values) },
      step("previous", -1),
      h("span", { "aria-hidden": "true" }, `${values.number}/${values.count}`),
      step("next", 1),
    );
  }

  #choose(node, at, count) {
    this.#chat.choose(node);
    announce(t("announceBranch", { number: number(at), count: number(count) }));
  }

  #welcome() {
    const { models, conversation } = this.#chat;
    if (!models?.length) return null;
    const [left, right] = conversation.models;
    const heading = conversation.compare ? t("welcomeCompare") : t("welcome", { model: left });
    const compare = () => this.#chat.set({ compare: true });
    const offer = !conversation.compare && models.length > 1;
    return h(
      "div",
      { class: "welcome" },
      h("h1", {}, heading),
      conversation.compare && h("p", {}, t("welcomeCompareText", { left, right })),
      h("p", {}, t("welcomeText")),
      offer && button("two", t("tryCompare", { left, right }), compare, { class: "plain" }),
      models.length === 1 && h("p", { class: "hint" }, t("compareNeedsTwo")),
    );
  }

  #written(part) {
    this.#stale.add(part);
    this.#frame ??= requestAnimationFrame(() => this.#refresh());
  }

  #refresh() {
    this.#frame = null;
    const follows = this.#isFollowing();
    for (const part of this.#stale) this.#answers.get(part)?.refresh();
    this.#stale.clear();
    if (follows) this.#follow();
  }

  #ended({ part, reply, lane }) {
    const follows = this.#isFollowing();
    this.#answers.get(part)?.refresh();
    this.#stale.delete(part);
    // What is selected in the other column stays selected while it is written.
    if (!this.#chat.isRunning()) this.show();
    if (follows) this.#follow();
    const model = reply.parts[lane].model || t("imported");
    if (part.state === "failed") announce(t("announceError", { model, text: explain(part.error) }));
    else if (part.state === "stopped") announce(t("announceStopped", { model }));
    else announce(t("announceEnd", { model, text: part.text || t("emptyNote") }));
  }

  /** Whether the reader has stayed where the thread was scrolled to by itself. */
  #isFollowing() {
    return this.#isNearEnd() || Math.abs(this.#scroller.scrollTop - this.#followed) < 4;
  }

  /** Scrolls to the end; of two answers, which grow both, the beginning stays in sight. */
  #follow() {
    const end = this.#scroller.scrollHeight - this.#scroller.clientHeight;
    const last = this.#thread.lastElementChild;
    const isPair = last?.querySelector(".pair");
    this.#scroller.scrollTop = isPair ? Math.min(end, this.#topOf(last.previousElementSibling)) : end;
    this.#followed = this.#scroller.scrollTop;
    this.#showLatest();
  }

  /** Where the scroller stands when an element is at its top. */
  #topOf(element) {
    const distance = element.getBoundingClientRect().top - this.#scroller.getBoundingClientRect().top;
    return this.#scroller.scrollTop + distance - 12;
  }

  #isNearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }

  #showLatest() {
    this.#latest.hidden = this.#isNearEnd();
  }

  #toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#showLatest();
  }
}

function isLive(part) {
  return part.state === "waiting" || part.state === "writing";
}

