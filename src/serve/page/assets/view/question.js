// A question as it was asked, and the field in which it is asked differently.

import { t } from "../i18n.js";
import { button, h, iconButton, isComposing } from "./dom.js";
import { copyButton } from "./notices.js";

/** The element of a question; `branches` is its switch, or null. */
export function questionElement(chat, node, branches) {
  const isBusy = chat.isRunning();
  const edit = iconButton("edit", t("edit"), () => article.replaceWith(editor(chat, node, article)), {
    "data-focus": `edit:${node.id}`,
    disabled: isBusy,
  });
  const article = h(
    "article",
    { class: "question" },
    h("h2", { class: "unseen" }, t("you")),
    h("div", { class: "bubble" }, node.text),
    h("div", { class: "tools" }, branches, copyButton(() => node.text, t("copy")), edit),
  );
  return article;
}

function editor(chat, node, article) {
  const area = h("textarea", { "aria-label": t("editLabel"), rows: "3" });
  area.value = node.text;
  const cancel = () => {
    form.replaceWith(article);
    article.querySelector("[data-focus]")?.focus();
  };
  const submit = (event) => {
    event.preventDefault();
    if (!area.value.trim() || chat.isRunning()) return;
    chat.edit(node, area.value.trim());
    document.getElementById("message").focus({ preventScroll: true });
  };
  const onkeydown = (event) => {
    if (isComposing(event)) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      cancel();
    } else if (event.key === "Enter" && !event.shiftKey) {
      submit(event);
    }
  };
  area.addEventListener("keydown", onkeydown);
  const form = h(
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
  queueMicrotask(() => {
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  });
  return form;
}
