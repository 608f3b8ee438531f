// The settings of the open conversation: its title, system prompt and sampling, and its way into a file.

import { onLanguage, t } from "../i18n.js";
import { FIELDS, readField } from "../sampling.js";
import { exportMessages, exportTree } from "../transfer.js";
import { titleOf } from "../tree.js";
import { button, fill, h, iconButton } from "./dom.js";
import { closeOverlay, open, toggle } from "./drawers.js";
import { notify } from "./notices.js";

export class Panel {
  #chat;
  #panel = document.getElementById("panel");
  #files = h("div", { class: "stack" });
  /** Fields with a value that is not allowed: name → input. */
  #wrong = new Map();

  constructor(chat) {
    this.#chat = chat;
    chat.addEventListener("opened", () => this.show());
    for (const event of ["changed", "ended", "models"]) chat.addEventListener(event, () => this.#showNames());
    onLanguage(() => this.show());
    this.show();
  }

  /** Whether all fields are right; else shows the first that is not. */
  check() {
    const [wrong] = this.#wrong;
    if (!wrong) return true;
    const [field, input] = wrong;
    open("panel");
    input.focus();
    notify(t("fixSettings", { field: t(field.name), rule: ruleOf(field) }));
    return false;
  }

  show() {
    this.#wrong.clear();
    fill(
      this.#panel,
      h("div", { class: "top" }, h("h2", {}, t("settings")), iconButton("close", t("close"), () => toggle("panel"))),
      this.#text("title", "input", ""),
      this.#text("system", "textarea", t("systemHint"), { rows: "4" }),
      h(
        "section",
        {},
        h("h3", {}, t("sampling")),
        h("p", { class: "hint" }, t("samplingHint")),
        FIELDS.map((field) => this.#number(field)),
        button("again", t("reset"), () => this.#reset(), { class: "plain" }),
      ),
      h("section", {}, h("h3", {}, t("file")), this.#files),
    );
    this.#showNames();
  }

  #text(name, tag, hint, attributes = {}) {
    const id = `setting-${name}`;
    const oninput = () => this.#chat.set({ [name]: input.value });
    const input = h(tag, { id, "aria-describedby": hint ? `${id}-hint` : null, oninput, ...attributes });
    input.value = this.#chat.conversation[name];
    return h(
      "div",
      { class: "setting" },
      h("label", { for: id }, t(name)),
      input,
      hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
    );
  }

  #number(field) {
    const id = `setting-${field.name}`;
    const input = h("input", {
      id,
      type: "text",
      inputmode: field.whole ? "numeric" : "decimal",
      autocomplete: "off",
      placeholder: t("automatic"),
      "aria-describedby": `${id}-hint ${id}-rule`,
    });
    const value = this.#chat.conversation.settings[field.name];
    input.value = value ?? "";
    const rule = h("p", { class: "wrong", id: `${id}-rule`, "aria-live": "polite" });
    input.addEventListener("input", () => this.#take(field, input, rule));
    return h(
      "div",
      { class: "setting number" },
      h("label", { for: id }, t(field.name)),
      input,
      h("p", { class: "hint", id: `${id}-hint` }, t(`${field.name}Hint`)),
      rule,
    );
  }

  #take(field, input, rule) {
    const value = readField(field, input.value);
    const isWrong = value === undefined;
    input.setAttribute("aria-invalid", String(isWrong));
    rule.textContent = isWrong ? ruleOf(field) : "";
    if (isWrong) {
      this.#wrong.set(field, input);
      return;
    }
    this.#wrong.delete(field);
    const settings = { ...this.#chat.conversation.settings };
    if (value === null) delete settings[field.name];
    else settings[field.name] = value;
    this.#chat.set({ settings });
  }

  #reset() {
    this.#chat.set({ settings: {} });
    this.show();
    this.#panel.querySelector("#setting-temperature").focus();
  }

  /** What the conversation and its models are called. */
  #showNames() {
    const { conversation } = this.#chat;
    this.#panel.querySelector("#setting-title").placeholder = titleOf({ ...conversation, title: "" }) || t("untitled");
    const isEmpty = conversation.nodes.length === 0;
    const messages = this.#chat.asked().map((model, lane) =>
      button("import", t("exportMessages", { model }), () => this.#download(exportMessages(conversation, lane), model), {
        class: "plain",
        disabled: isEmpty,
      }),
    );
    const tree = button("import", t("exportTree"), () => this.#download(exportTree(conversation)), {
      class: "plain",
      disabled: isEmpty,
    });
    fill(this.#files, tree, messages, h("p", { class: "hint" }, t("exportHint")));
  }

  #download(text, model = "") {
    const title = [titleOf(this.#chat.conversation), model].filter(Boolean).join(" ");
    const name = title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 80);
    const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    h("a", { href, download: `${name || "conversation"}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
    closeOverlay();
  }
}

function ruleOf(field) {
  if (field.whole) return t("wholeFrom", { min: field.min });
  return field.above === undefined ? t("between", field) : t("aboveTo", field);
}
