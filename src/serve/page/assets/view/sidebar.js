// The conversations that the browser keeps, and the choices that hold for the whole page.

import { languageChoice, onLanguage, setLanguage, t } from "../i18n.js";
import { preference, setPreference } from "../store.js";
import { LARGEST_FILE, ImportError, importText } from "../transfer.js";
import { button, fill, focusMessage, h, iconButton, select } from "./dom.js";
import { closeOverlay } from "./drawers.js";
import { notify } from "./notices.js";

export class Sidebar {
  #chat;
  #nav = document.getElementById("sidebar");
  #list = h("ul", { class: "list" });

  constructor(chat) {
    this.#chat = chat;
    for (const event of ["opened", "listed"]) chat.addEventListener(event, () => this.#showList());
    onLanguage(() => this.show());
    this.show();
  }

  show() {
    const close = iconButton("close", t("close"), closeOverlay, { class: "quiet square overlay-only" });
    fill(
      this.#nav,
      h("div", { class: "top" }, h("span", { class: "brand" }, "glmtune"), close),
      button("plus", t("newChat"), () => this.#new(), { class: "plain new", "data-focus": "new" }),
      this.#list,
      h("div", { class: "choices" }, this.#import(), this.#languages(), this.#themes()),
    );
    this.#showList();
  }

  #showList() {
    const summaries = this.#chat.list();
    const items = summaries.map((summary) => this.#item(summary));
    fill(this.#list, items.length > 0 ? items : h("li", { class: "hint" }, t("noConversations")));
  }

  #item({ id, title }) {
    const name = title || t("untitled");
    const isOpen = id === this.#chat.conversation.id;
    const open = h(
      "button",
      {
        type: "button",
        class: "quiet title",
        "aria-current": isOpen ? "true" : null,
        "data-focus": `open:${id}`,
        title: name,
        onclick: () => this.#open(id),
      },
      name,
    );
    const remove = iconButton("remove", t("remove", { title: name }), () => this.#remove(id, name), {
      "data-focus": `remove:${id}`,
    });
    return h("li", {}, open, remove);
  }

  #new() {
    this.#chat.openNew();
    closeOverlay();
    focusMessage();
  }

  #open(id) {
    this.#chat.open(id);
    closeOverlay();
  }

  #remove(id, title) {
    this.#chat.remove(id);
    this.#nav.querySelector(".new").focus();
    notify(t("removed", { title }), { label: t("undo"), run: () => this.#chat.undoRemove() });
  }

  #import() {
    const input = h("input", { type: "file", accept: ".json,application/json", class: "unseen", tabindex: "-1", "aria-hidden": "true", id: "import-file" });
    input.addEventListener("change", async () => {
      const [file] = input.files;
      // The same file may be chosen again.
      if (file) await this.#read(file);
      input.value = "";
    });
    return [input, button("import", t("import"), () => input.click(), { class: "quiet" })];
  }

  async #read(file) {
    try {
      if (file.size > LARGEST_FILE) throw new ImportError("importTooLarge");
      this.#chat.openImported(importText(await file.text()));
      closeOverlay();
    } catch (error) {
      const { reason, values } = error instanceof ImportError ? error : { reason: "importUnreadable" };
      notify(t("importFailed", { file: file.name, why: t(reason, values) }));
    }
  }

  #languages() {
    const choices = [
      { value: "auto", label: t("languageAuto") },
      { value: "en", label: "English" },
      { value: "zh", label: "中文" },
    ];
    const onchange = ({ target }) => setLanguage(target.value);
    const menu = select(choices, languageChoice(), { id: "language", "data-focus": "language", onchange });
    return h("label", {}, h("span", {}, t("language")), menu);
  }

  #themes() {
    const choices = [
      { value: "auto", label: t("themeAuto") },
      { value: "light", label: t("themeLight") },
      { value: "dark", label: t("themeDark") },
    ];
    const menu = select(choices, preference("theme") ?? "auto", {
      id: "theme",
      onchange: ({ target }) => setTheme(target.value),
    });
    return h("label", {}, h("span", {}, t("theme")), menu);
  }
}

function setTheme(theme) {
  setPreference("theme", theme === "auto" ? null : theme);
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
