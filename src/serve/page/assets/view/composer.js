// Where a question is written; while answers are written, where they are stopped.

import { t } from "../i18n.js";
import { focusMessage, h, icon, isComposing } from "./dom.js";

export class Composer {
  #chat;
  #form = document.getElementById("composer");
  #area;
  #button;
  #hint;
  /** Called before a question is sent; false holds it back. */
  #mayAsk;

  constructor(chat, mayAsk) {
    this.#chat = chat;
    this.#mayAsk = mayAsk;
    this.#area = h("textarea", { id: "message", rows: "1", autocomplete: "off", "aria-describedby": "keys" });
    this.#button = h("button", { type: "submit", class: "strong square" });
    this.#hint = h("p", { class: "hint", id: "keys" });
    this.#form.append(h("div", { class: "field" }, this.#area, this.#button), this.#hint);
    this.#form.addEventListener("submit", (event) => this.#submit(event));
    this.#area.addEventListener("input", () => this.#grow());
    this.#area.addEventListener("keydown", (event) => this.#key(event));
    for (const event of ["changed", "ended", "opened", "models"]) {
      chat.addEventListener(event, () => this.show());
    }
    chat.addEventListener("opened", focusMessage);
  }

  show() {
    const isRunning = this.#chat.isRunning();
    const label = t(isRunning ? "stop" : "send");
    this.#button.replaceChildren(icon(isRunning ? "stop" : "send"));
    this.#button.setAttribute("aria-label", label);
    this.#button.title = label;
    this.#button.disabled = !isRunning && !this.#chat.models?.length;
    this.#button.dataset.state = isRunning ? "stop" : "send";
    this.#area.setAttribute("aria-label", t("composer"));
    this.#area.placeholder = t("placeholder");
    this.#hint.textContent = t("keys");
  }

  #submit(event) {
    event.preventDefault();
    if (this.#chat.isRunning()) {
      this.#chat.stop();
      return;
    }
    this.#send();
  }

  #send() {
    const text = this.#area.value.trim();
    if (!text || this.#chat.isRunning() || !this.#chat.models?.length || !this.#mayAsk()) return;
    this.#area.value = "";
    this.#grow();
    this.#chat.send(text);
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.altKey || isComposing(event)) return;
    event.preventDefault();
    this.#send();
  }

  #grow() {
    this.#area.style.height = "auto";
    this.#area.style.height = `${this.#area.scrollHeight}px`;
  }
}
