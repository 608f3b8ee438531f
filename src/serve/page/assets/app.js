// Puts the page together.

import { Chat } from "./chat.js";
import { onLanguage, t } from "./i18n.js";
import { isAvailable } from "./store.js";
import { titleOf } from "./tree.js";
import { Composer } from "./view/composer.js";
import { icon } from "./view/dom.js";
import { closeOverlay, hasOverlay, startDrawers } from "./view/drawers.js";
import { notify } from "./view/notices.js";
import { Panel } from "./view/panel.js";
import { Pickers } from "./view/pickers.js";
import { Sidebar } from "./view/sidebar.js";
import { Thread } from "./view/thread.js";

/** The names of adapters may change while the page is in the background. */
const MODELS_AGE = 30000;

function labels() {
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
  }
}

function pageTitle(chat) {
  const title = titleOf(chat.conversation);
  document.title = title ? `${title} – glmtune` : "glmtune";
}

function escape(chat, event) {
  if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
  if (chat.isRunning()) chat.stop();
  else if (hasOverlay()) closeOverlay();
}

function watchModels(chat) {
  let loaded = Date.now();
  chat.addEventListener("models", () => (loaded = Date.now()));
  document.addEventListener("visibilitychange", () => {
    const isOld = Date.now() - loaded > MODELS_AGE;
    if (document.visibilityState === "visible" && isOld && !chat.isRunning()) chat.loadModels();
  });
}

const chat = new Chat();
labels();
document.getElementById("latest").append(icon("down"));
const panel = new Panel(chat);
new Sidebar(chat);
new Pickers(chat);
startDrawers();
const thread = new Thread(chat);
const composer = new Composer(chat, () => panel.check());
composer.show();
onLanguage(() => {
  labels();
  composer.show();
  thread.reset();
});
for (const event of ["opened", "changed", "listed"]) chat.addEventListener(event, () => pageTitle(chat));
chat.addEventListener("storage", ({ detail }) => {
  notify(t(detail.kind === "full" ? "storageFull" : "storageUnavailable"));
});
document.addEventListener("keydown", (event) => escape(chat, event));
watchModels(chat);
if (!isAvailable()) notify(t("storageUnavailable"));
chat.start();
