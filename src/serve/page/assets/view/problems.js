// What went wrong, in words a person can act on, and the field for the API key where the server asked for it.

import { t } from "../i18n.js";
import { h, icon } from "./dom.js";

let made = 0;

/** A form that calls `use(key)`; `wasWrong` says that a key was refused. */
export function keyForm(wasWrong, use) {
  made += 1;
  const id = `key-${made}`;
  const input = h("input", {
    id,
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": `${id}-hint`,
  });
  const submit = (event) => {
    event.preventDefault();
    const key = input.value.trim();
    if (key) use(key);
  };
  return h(
    "form",
    { class: "keyform", onsubmit: submit },
    h("p", { class: "problem" }, icon("warning"), h("span", {}, t(wasWrong ? "errorKeyWrong" : "errorKey"))),
    h("label", { for: id }, t("key")),
    h("div", { class: "row" }, input, h("button", { type: "submit", class: "strong" }, t("keyUse"))),
    h("p", { class: "hint", id: `${id}-hint` }, t("keyHint")),
  );
}

/** What a failure means, in the page's words and the server's. */
export function explain(error) {
  if (error.kind === "unreachable") return t("errorUnreachable");
  if (error.kind === "broken") return t("errorBroken");
  if (error.kind === "page") return t("errorUnknown", { detail: error.message });
  if (error.status === 429 || error.status === 503) {
    const seconds = error.retryAfter;
    const busy = seconds ? t("errorBusyWait", { seconds }) : t("errorBusy");
    return error.message ? `${busy} ${error.message}` : busy;
  }
  return error.message || t("errorRefused", { status: error.status });
}
