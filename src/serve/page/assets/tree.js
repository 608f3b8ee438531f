// A conversation is a tree of messages: an edited question or a regenerated answer is a sibling, nothing is lost.
//
// A question is `{id, parent, role: "user", text}`. A reply is `{id, parent, role: "assistant", parts}` with one part
// per model that was asked: `{model, text, state, …}`. Two parts stand side by side, and the conversation goes on
// from both, each model with its own answers.

/** The form of a conversation in storage and in exported files. */
export const FORMAT = "glmtune-conversation";
export const VERSION = 1;

/** Random, and available outside of secure contexts, which `crypto.randomUUID` is not. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

/** An empty conversation. `models` are the names picked for the left and the right column. */
export function newConversation({ models = [], compare = false, settings = {} } = {}) {
  const now = Date.now();
  return {
    format: FORMAT,
    version: VERSION,
    id: newId(),
    title: "",
    created: now,
    updated: now,
    system: "",
    models: [...models],
    compare,
    settings: { ...settings },
    nodes: [],
    chosen: {},
  };
}

/** A part of a reply that nothing has been written into. */
export function newPart(model) {
  return { model, text: "", state: "waiting", finish: null, error: null, usage: null, pieces: 0 };
}

export function addQuestion(conversation, parent, text) {
  return add(conversation, { id: newId(), parent, role: "user", text });
}

export function addReply(conversation, parent, parts) {
  return add(conversation, { id: newId(), parent, role: "assistant", parts });
}

function add(conversation, node) {
  conversation.nodes.push(node);
  choose(conversation, node);
  conversation.updated = Date.now();
  return node;
}

export function nodeOf(conversation, id) {
  return conversation.nodes.find((node) => node.id === id) ?? null;
}

/** The alternatives at a place, in the order of their making. */
export function siblings(conversation, node) {
  return children(conversation, node.parent);
}

function children(conversation, parent) {
  return conversation.nodes.filter((node) => node.parent === parent);
}

/** Makes `node` the one that is shown among its siblings. */
export function choose(conversation, node) {
  conversation.chosen[node.parent ?? ""] = node.id;
}

/** The messages that are shown, from the first to the last. */
export function shown(conversation) {
  const byParent = Map.groupBy
    ? Map.groupBy(conversation.nodes, (node) => node.parent)
    : grouped(conversation.nodes);
  const path = [];
  let parent = null;
  for (;;) {
    const candidates = byParent.get(parent);
    if (!candidates) return path;
    const chosen = conversation.chosen[parent ?? ""];
    const node = candidates.find(({ id }) => id === chosen) ?? candidates.at(-1);
    path.push(node);
    parent = node.id;
  }
}

function grouped(nodes) {
  const groups = new Map();
  for (const node of nodes) {
    if (!groups.has(node.parent)) groups.set(node.parent, []);
    groups.get(node.parent).push(node);
  }
  return groups;
}

/** From the first message to `node`, whatever is shown elsewhere. */
export function ancestry(conversation, node) {
  const byId = new Map(conversation.nodes.map((other) => [other.id, other]));
  const path = [];
  for (let at = node; at; at = byId.get(at.parent)) path.push(at);
  return path.reverse();
}

/** The part of a reply that the model in column `lane` goes on from. */
export function partFor(reply, lane, model) {
  const own = reply.parts[lane];
  if (own?.model === model) return own;
  return reply.parts.find((part) => part.model === model) ?? own ?? reply.parts[0];
}

/**
 * What column `lane` is asked, up to and with `node`: `[{role, content}]`. A question that this column has no answer
 * to is left out with it, the last one excepted.
 */
export function messagesFor(conversation, node, lane, model) {
  const messages = [];
  if (conversation.system.trim()) messages.push({ role: "system", content: conversation.system });
  for (const message of ancestry(conversation, node)) {
    if (message.role === "user") {
      messages.push({ role: "user", content: message.text });
      continue;
    }
    const { text } = partFor(message, lane, model);
    if (text) messages.push({ role: "assistant", content: text });
    else if (messages.at(-1)?.role === "user") messages.pop();
  }
  return messages;
}

/** The first words of the first question, or what a person called it. */
export function titleOf(conversation) {
  if (conversation.title) return conversation.title;
  const first = shown(conversation).find((node) => node.role === "user");
  const line = first?.text.trim().split("\n", 1)[0] ?? "";
  const letters = [...line];
  return letters.length > 60 ? `${letters.slice(0, 59).join("")}…` : line;
}

/** Answers that were being written when the page went away are as they were left. */
export function settle(conversation) {
  for (const node of conversation.nodes) {
    for (const part of node.parts ?? []) {
      if (part.state === "waiting" || part.state === "writing") part.state = "stopped";
    }
  }
}
