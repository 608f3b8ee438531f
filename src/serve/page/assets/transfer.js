// Conversations as files: with all branches, or as the messages that `glmtune chat --load` reads.

import { validSettings } from "./sampling.js";
import {
  FORMAT,
  VERSION,
  addQuestion,
  addReply,
  choose,
  messagesFor,
  newConversation,
  newPart,
  shown,
} from "./tree.js";

/** Files beyond this are refused before they are read. */
export const LARGEST_FILE = 32 * 1024 * 1024;

/** Why a file is not a conversation: `reason` names a text of the page, `values` fill it. */
export class ImportError extends Error {
  constructor(reason, values = {}) {
    super(reason);
    this.reason = reason;
    this.values = values;
  }
}

/** Everything, branches too. */
export function exportTree(conversation) {
  return `${JSON.stringify(conversation, null, 2)}\n`;
}

/** The messages of column `lane` that are shown: a JSON array of `{role, content}`. */
export function exportMessages(conversation, lane) {
  const last = shown(conversation).at(-1);
  const model = conversation.models[lane] ?? "";
  const messages = last ? messagesFor(conversation, last, lane, model) : [];
  return `${JSON.stringify(messages, null, 2)}\n`;
}

/** Reads either form, and objects that hold the messages under `messages`. */
export function importText(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ImportError("importNotJson", { detail: error.message });
  }
  if (Array.isArray(value)) return fromMessages(value);
  if (value?.format === FORMAT) return fromTree(value);
  if (Array.isArray(value?.messages)) return fromMessages(value.messages);
  throw new ImportError("importUnknownForm");
}

function fromMessages(messages) {
  if (messages.length === 0) throw new ImportError("importEmpty");
  const conversation = newConversation();
  let parent = null;
  messages.forEach((message, index) => {
    const { role, content } = message ?? {};
    const number = index + 1;
    if (typeof content !== "string") throw new ImportError("importNoText", { number });
    if (role === "system" && index === 0) {
      conversation.system = content;
    } else if (role === "user") {
      parent = addQuestion(conversation, parent, content).id;
    } else if (role === "assistant") {
      const part = { ...newPart(""), text: content, state: "done" };
      parent = addReply(conversation, parent, [part]).id;
    } else {
      throw new ImportError("importRole", { number, role: String(role) });
    }
  });
  return conversation;
}

/** Takes over field by field what it knows, under new ids: a file is what somebody else may have written. */
function fromTree(value) {
  if (value.version !== VERSION) {
    throw new ImportError("importVersion", { version: String(value.version) });
  }
  if (!Array.isArray(value.nodes)) throw new ImportError("importUnknownForm");
  const conversation = newConversation({
    models: strings(value.models).slice(0, 2),
    compare: value.compare === true,
    settings: validSettings(value.settings),
  });
  conversation.title = typeof value.title === "string" ? value.title : "";
  conversation.system = typeof value.system === "string" ? value.system : "";
  const taken = new Map();
  value.nodes.forEach((node, index) => {
    const number = index + 1;
    const isFirst = node?.parent === null;
    // Parents come before their children, so that no circle can be.
    if (!isFirst && !taken.has(node?.parent)) throw new ImportError("importParent", { number });
    const parent = isFirst ? null : taken.get(node.parent).id;
    taken.set(node.id, takeNode(conversation, parent, node, number));
  });
  for (const chosen of Object.values(value.chosen ?? {})) {
    if (taken.has(chosen)) choose(conversation, taken.get(chosen));
  }
  return conversation;
}

function takeNode(conversation, parent, node, number) {
  if (node.role === "user") {
    if (typeof node.text !== "string") throw new ImportError("importNoText", { number });
    return addQuestion(conversation, parent, node.text);
  }
  if (node.role !== "assistant") {
    throw new ImportError("importRole", { number, role: String(node.role) });
  }
  const parts = Array.isArray(node.parts) ? node.parts.slice(0, 2) : [];
  if (parts.length === 0) throw new ImportError("importNoText", { number });
  return addReply(conversation, parent, parts.map((part) => takePart(part, number)));
}

function takePart(part, number) {
  if (typeof part?.text !== "string") throw new ImportError("importNoText", { number });
  const count = (value) => (Number.isFinite(value) && value >= 0 ? value : null);
  const usage = { prompt: count(part.usage?.prompt), completion: count(part.usage?.completion) };
  return {
    ...newPart(typeof part.model === "string" ? part.model : ""),
    text: part.text,
    state: part.state === "stopped" || part.state === "failed" ? "stopped" : "done",
    finish: typeof part.finish === "string" ? part.finish : null,
    usage: usage.completion === null ? null : usage,
    pieces: count(part.pieces) ?? 0,
    first: count(part.first),
    seconds: count(part.seconds),
  };
}

function strings(value) {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}
