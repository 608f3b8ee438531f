// The bar over the conversation: one model or two, and which.

import { onLanguage, t } from "../i18n.js";
import { apiKey } from "../store.js";
import { button, fill, h, icon, iconButton, select } from "./dom.js";
import { markControls, toggle } from "./drawers.js";
import { explain, keyForm } from "./problems.js";

export class Pickers {
  #chat;
  #bar = document.getElementById("bar");
  #banner = document.getElementById("banner");

  constructor(chat) {
    this.#chat = chat;
    for (const event of ["opened", "changed", "models"]) chat.addEventListener(event, () => this.show());
    // Without the key there is nothing else to do.
    chat.addEventListener("models", () => this.#banner.querySelector("input")?.focus());
    onLanguage(() => this.show());
    this.show();
  }

  show() {
    const control = (name, label, side) =>
      iconButton(name, label, () => toggle(side), { "aria-controls": side, "data-focus": side });
    fill(
      this.#bar,
      control("menu", t("menu"), "sidebar"),
      this.#mode(),
      h("div", { class: "models" }, this.#models()),
      control("settings", t("settings"), "panel"),
    );
    markControls();
    fill(this.#banner, this.#trouble());
  }

  #mode() {
    const { compare } = this.#chat.conversation;
    const isPossible = (this.#chat.models?.length ?? 0) > 1 || compare;
    const mode = (value, name, label) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(compare === value),
          "data-focus": `mode:${value}`,
          disabled: value && !isPossible,
          title: value && !isPossible ? t("compareNeedsTwo") : label,
          onclick: () => this.#chat.set({ compare: value }),
        },
        icon(name),
        h("span", {}, label),
      );
    return h(
      "div",
      { class: "modes", role: "group", "aria-label": t("mode") },
      mode(false, "one", t("one")),
      mode(true, "two", t("compare")),
    );
  }

  #models() {
    const { models } = this.#chat;
    if (!models) return this.#chat.modelsError ? null : h("span", { class: "hint" }, t("loadingModels"));
    const { compare } = this.#chat.conversation;
    if (!compare) return this.#picker(0, t("model"));
    return [this.#picker(0, t("left")), this.#picker(1, t("right"))];
  }

  #picker(lane, label) {
    const { models } = this.#chat;
    const picked = this.#chat.conversation.models;
    const choices = models.map(({ id }) => ({ value: id, label: this.#chat.nameOf(id) }));
    const value = picked[lane];
    if (value && !models.some(({ id }) => id === value)) {
      choices.push({ value, label: t("gone", { model: value }) });
    }
    const onchange = ({ target }) => {
      const changed = [...picked];
      changed[lane] = target.value;
      this.#chat.set({ models: changed });
    };
    const attributes = { "aria-label": label, title: label, "data-lane": lane, "data-focus": `model:${lane}`, onchange };
    return select(choices, value, attributes);
  }

  /** Without models nothing can be asked. */
  #trouble() {
    const error = this.#chat.modelsError;
    if (!error) return null;
    if (error.status === 401) return keyForm(Boolean(apiKey()), (key) => this.#chat.useKey(key));
    const text = `${t("modelsFailed")} ${explain(error)}`;
    return h(
      "div",
      { class: "failure" },
      h("p", { class: "problem" }, icon("warning"), h("span", {}, text)),
      button("again", t("retry"), () => this.#chat.loadModels(), { class: "plain", "data-focus": "models" }),
    );
  }
}
