// What the browser keeps: conversations in local storage, one key each; the API key for this tab only.

const CONVERSATION = "glmtune.conversation.";
const SUMMARY = "glmtune.summary.";
const API_KEY = "glmtune.api_key";

/** The browser has no room left, or keeps nothing at all. */
export class StorageError extends Error {
  /** @param {"full"|"unavailable"} kind */
  constructor(kind) {
    super(kind);
    this.kind = kind;
  }
}

/** Whether anything is kept at all: some browsers refuse in private windows. */
export function isAvailable() {
  try {
    localStorage.setItem("glmtune.probe", "1");
    localStorage.removeItem("glmtune.probe");
    return true;
  } catch (error) {
    // A full one still gives back what it has.
    return error?.name === "QuotaExceededError" && localStorage.length > 0;
  }
}

/** `[{id, title, updated}]`, the latest first. */
export function summaries() {
  const found = [];
  try {
    for (let index = 0; index < localStorage.length; index += 1) {
      const key = localStorage.key(index);
      if (!key.startsWith(SUMMARY)) continue;
      const summary = parsed(localStorage.getItem(key));
      if (!summary) continue;
      const { title, updated } = summary;
      found.push({ id: key.slice(SUMMARY.length), title: String(title), updated: Number(updated) || 0 });
    }
  } catch {
    return [];
  }
  return found.sort((a, b) => b.updated - a.updated);
}

/** Writes a conversation. Branches that another tab has added meanwhile are kept. */
export function save(conversation, title) {
  const stored = load(conversation.id);
  if (stored) {
    const known = new Set(conversation.nodes.map((node) => node.id));
    conversation.nodes.push(...stored.nodes.filter((node) => !known.has(node.id)));
  }
  const summary = JSON.stringify({ title, updated: conversation.updated });
  try {
    localStorage.setItem(CONVERSATION + conversation.id, JSON.stringify(conversation));
    localStorage.setItem(SUMMARY + conversation.id, summary);
  } catch (error) {
    const isFull = error?.name === "QuotaExceededError" && isAvailable();
    throw new StorageError(isFull ? "full" : "unavailable");
  }
}

/** A conversation as it was saved, or null. */
export function load(id) {
  try {
    const conversation = parsed(localStorage.getItem(CONVERSATION + id));
    return Array.isArray(conversation?.nodes) ? conversation : null;
  } catch {
    return null;
  }
}

export function remove(id) {
  try {
    localStorage.removeItem(CONVERSATION + id);
    localStorage.removeItem(SUMMARY + id);
  } catch {
    // What is not kept need not be removed.
  }
}

/** Calls `changed(id)` when another tab saves or removes a conversation. */
export function watch(changed) {
  window.addEventListener("storage", ({ key }) => {
    if (key?.startsWith(SUMMARY)) changed(key.slice(SUMMARY.length));
  });
}

/** A choice such as the language, or null. */
export function preference(name) {
  try {
    return localStorage.getItem(`glmtune.${name}`);
  } catch {
    return null;
  }
}

export function setPreference(name, value) {
  try {
    if (value === null) localStorage.removeItem(`glmtune.${name}`);
    else localStorage.setItem(`glmtune.${name}`, value);
  } catch {
    // It holds until the page is closed.
  }
}

let heldKey = null;

export function apiKey() {
  try {
    return heldKey ?? sessionStorage.getItem(API_KEY);
  } catch {
    return heldKey;
  }
}

export function setApiKey(key) {
  heldKey = key;
  try {
    sessionStorage.setItem(API_KEY, key);
  } catch {
    // Held by this page alone.
  }
}

function parsed(text) {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
