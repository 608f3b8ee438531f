// A question as it was asked, and the field in which it is asked differently.

import { t } from "../i18n.js";
import { button, focusMessage, h, iconButton, isComposing } from "./dom.js";
import { copyButton } from "./notices.js";

/** Question → the form in which it is being edited: what is typed outlives a thread that is shown anew. */
const editors = new WeakMap();

/** The element of a question. `branches` is its switch, or null; `refresh` shows the thread anew. */
export function questionElement(chat, node, branches, refresh) {
  if (editors.has(node)) return editors.get(node);
  const edit = () => {
    const form = editor(chat, node, refresh);
    editors.set(node, form);
    refresh();
    form.querySelector("textarea").focus();
  };
  const attributes = { "data-focus": `edit:${node.id}`, disabled: chat.isRunning() };
  return h(
    "article",
    { class: "question" },
    h("h2", { class: "unseen" }, t("you")),
    h("div", { class: "bubble" }, node.text),
    h("div", { class: "tools" }, branches, copyButton(() => node.text, t("copy")), iconButton("edit", t("edit"), edit, attributes)),
  );
}

function editor(chat, node, refresh) {
  const area = h("textarea", { "aria-label": t("editLabel"), rows: "3", "data-focus": `edit:${node.id}` });
  area.value = node.text;
  const cancel = () => {
    editors.delete(node);
    refresh();
  };
  const submit = (event) => {
    event.preventDefault();
    if (!area.value.trim() || chat.isRunning()) return;
    editors.delete(node);
    chat.edit(node, area.value.trim());
    focusMessage();
  };
  area.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      cancel();
    } else if (event.key === "Enter" && !event.shiftKey) {
      submit(event);
    }
  });
  return h(
    "form",
    { class: "question editor", onsubmit: submit },
    area,
    h(
      "div",
      { class: "row end" },
      button(null, t("cancel"), cancel, { class: "plain" }),
      h("button", { type: "submit", class: "strong" }, t("editSend")),
    ),
  );
}
