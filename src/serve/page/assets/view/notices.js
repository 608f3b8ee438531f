// What the page says outside of the conversation: notices that stay until dismissed, and words for screen readers.

import { t } from "../i18n.js";
import { button, copyText, h, icon, iconButton } from "./dom.js";

/** Longer answers are not read aloud by themselves. */
const LONGEST_ANNOUNCED = 600;

/** Shows a notice; `action` is `{label, run}`. One with the same text is there once. */
export function notify(text, action = null) {
  const notices = document.getElementById("notices");
  for (const other of notices.children) {
    if (other.firstChild.textContent === text) other.remove();
  }
  const notice = h("div", { class: "notice" }, h("p", {}, text));
  const dismiss = () => notice.remove();
  if (action) {
    const run = () => {
      dismiss();
      action.run();
    };
    notice.append(button(null, action.label, run, { class: "plain" }));
  }
  notice.append(iconButton("close", t("dismiss"), dismiss));
  notices.append(notice);
  while (notices.children.length > 3) notices.firstChild.remove();
}

/** Says a text to screen readers when they have nothing else to say. */
export function announce(text) {
  const letters = [...text];
  const short = letters.length > LONGEST_ANNOUNCED ? `${letters.slice(0, LONGEST_ANNOUNCED).join("")}…` : text;
  const announcer = document.getElementById("announcer");
  const line = h("p", {}, short);
  announcer.append(line);
  // Two answers may end at once: what was said goes away only later.
  setTimeout(() => line.remove(), 20000);
}

/** A button that copies what `read` gives, and shows that it did. */
export function copyButton(read, label, attributes = {}) {
  const copy = iconButton("copy", label, async () => {
    if (!(await copyText(read()))) {
      notify(t("copyFailed"));
      return;
    }
    copy.replaceChildren(icon("done"));
    announce(t("copied"));
    setTimeout(() => copy.replaceChildren(icon("copy")), 1500);
  }, attributes);
  return copy;
}
