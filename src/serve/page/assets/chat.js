// What the page knows and does: models, the open conversation, the answers being written. Views listen to it.

import { ApiError, listModels, streamAnswer } from "./api.js";
import { t } from "./i18n.js";
import { validSettings } from "./sampling.js";
import * as store from "./store.js";
import {
  addQuestion,
  addReply,
  choose,
  messagesFor,
  newConversation,
  newPart,
  nodeOf,
  settle,
  shown,
  siblings,
  titleOf,
} from "./tree.js";

/** How often a conversation is saved while an answer is written, in milliseconds. */
const SAVE_EVERY = 1500;

/**
 * Events, each with its detail: `opened` (another conversation), `changed` (its messages, or the choices in `fields`;
 * `reply` has begun), `written` (a part got text), `ended` (a part is complete), `listed` (the list of conversations),
 * `models`, `storage`.
 */
export class Chat extends EventTarget {
  /** `[{id, parent}]`, the base first; null until they are known. */
  models = null;
  /** Why they are not known. */
  modelsError = null;
  conversation = newConversation();
  /** Part → {conversation, controller}. */
  #running = new Map();
  #saveTimer = null;
  #unsaved = new Set();
  /** What a removal can bring back. */
  #removed = null;
  /** Removed ids: an answer that ends later must not save its conversation again. */
  #gone = new Set();
  /** Whether the page is going away: what breaks then is no failure. */
  #isLeaving = false;

  /** Opens what was open last and asks for the models. */
  start() {
    const last = store.preference("open");
    const stored = last && store.load(last);
    if (stored) this.#adopt(stored);
    else this.conversation = newConversation(this.#remembered());
    this.#emit("opened");
    store.watch((id) => this.#changedElsewhere(id));
    window.addEventListener("pagehide", () => {
      this.#isLeaving = true;
      this.#saveAll();
    });
    window.addEventListener("pageshow", () => (this.#isLeaving = false));
    return this.loadModels();
  }

  async loadModels() {
    try {
      this.models = await listModels(store.apiKey());
      this.modelsError = null;
    } catch (error) {
      this.modelsError = error instanceof ApiError ? error : new ApiError("unreachable");
    }
    this.#pickModels();
    this.#emit("models");
  }

  useKey(key) {
    store.setApiKey(key);
    return this.loadModels();
  }

  /** A conversation that names no model gets the base, and beside it the first that was tuned from it. */
  #pickModels() {
    const { conversation, models } = this;
    if (!models?.length) return;
    const base = models[0].id;
    const tuned = models.find((model) => model.id !== base)?.id ?? base;
    const isNew = conversation.models.length === 0;
    // The names that another run of the server had are of no use to an empty conversation.
    const names = new Set(models.map((model) => model.id));
    const isStale = conversation.nodes.length === 0 && !conversation.models.every((id) => names.has(id));
    const [left, right] = isNew || isStale ? [base, tuned] : conversation.models;
    conversation.models = [left, right ?? tuned];
    if (isNew && conversation.nodes.length === 0) conversation.compare = tuned !== base;
    if (isStale && tuned === base) conversation.compare = false;
  }

  #remembered() {
    try {
      const { models, compare, settings } = JSON.parse(store.preference("choices")) ?? {};
      const named = Array.isArray(models) ? models.filter((id) => typeof id === "string") : [];
      return { models: named.slice(0, 2), compare: compare === true, settings: validSettings(settings) };
    } catch {
      return {};
    }
  }

  // Conversations.

  /** `[{id, title, updated}]`, the latest first. */
  list() {
    return store.summaries();
  }

  open(id) {
    if (id === this.conversation.id) return;
    const live = [...this.#running.values()].find(({ conversation }) => conversation.id === id);
    const stored = live?.conversation ?? store.load(id);
    if (!stored) return;
    if (live) this.conversation = stored;
    else this.#adopt(stored);
    this.#opened();
  }

  openNew() {
    const { models, compare, settings } = this.conversation;
    this.conversation = newConversation({ models, compare, settings });
    this.#opened();
  }

  /** Opens a conversation that was read from a file. */
  openImported(conversation) {
    this.conversation = conversation;
    this.#opened();
    this.#save(conversation);
  }

  #adopt(stored) {
    settle(stored);
    stored.settings = validSettings(stored.settings);
    this.conversation = stored;
  }

  #opened() {
    this.#pickModels();
    store.setPreference("open", this.conversation.id);
    this.#emit("opened");
  }

  remove(id) {
    for (const [part, { conversation }] of this.#running) {
      if (conversation.id === id) this.stopPart(part);
    }
    this.#removed = id === this.conversation.id ? this.conversation : store.load(id);
    this.#gone.add(id);
    store.remove(id);
    this.#emit("listed");
    if (id === this.conversation.id) this.openNew();
  }

  undoRemove() {
    const conversation = this.#removed;
    if (!conversation) return;
    this.#removed = null;
    this.#gone.delete(conversation.id);
    settle(conversation);
    this.#save(conversation);
    this.open(conversation.id);
  }

  #changedElsewhere(id) {
    this.#emit("listed");
    if (id !== this.conversation.id || this.isRunning()) return;
    const stored = store.load(id);
    if (!stored) return;
    this.#adopt(stored);
    this.#emit("changed");
  }

  // Choices.

  /** Changes fields of the conversation: title, system, models, compare, settings. */
  set(fields) {
    Object.assign(this.conversation, fields);
    const { models, compare, settings } = this.conversation;
    store.setPreference("choices", JSON.stringify({ models, compare, settings }));
    if (this.conversation.nodes.length > 0) this.#saveSoon(this.conversation);
    this.#emit("changed", { fields: Object.keys(fields) });
  }

  /** The models that the next question goes to. */
  asked() {
    const { models, compare } = this.conversation;
    return compare ? models.slice(0, 2) : models.slice(0, 1);
  }

  /** A model's name as it is shown: of several, the base says that it is one. */
  nameOf(model) {
    const isBase = this.models?.length > 1 && model === this.models[0].id;
    return isBase ? t("base", { model }) : model;
  }

  isRunning() {
    return [...this.#running.values()].some(({ conversation }) => conversation === this.conversation);
  }

  // Messages.

  /** Asks a question after the last message shown. */
  send(text) {
    const { conversation } = this;
    const last = shown(conversation).at(-1);
    const question = addQuestion(conversation, last?.id ?? null, text);
    this.#reply(question.id, this.asked().map(newPart));
  }

  /** Asks another question in the place of one: a branch. */
  edit(node, text) {
    const question = addQuestion(this.conversation, node.parent, text);
    this.#reply(question.id, this.asked().map(newPart));
  }

  /** Another answer beside the ones there are; of one column where `lane` is given. */
  regenerate(reply, lane = null) {
    const asked = this.asked();
    // Both are both, also after one model alone was picked.
    const models = asked.length < reply.parts.length ? reply.parts.map((part) => this.#modelOf(part)) : asked;
    const parts =
      lane === null
        ? models.map(newPart)
        : reply.parts.map((part, at) => (at === lane ? newPart(this.#modelOf(part)) : { ...part }));
    this.#reply(reply.parent, parts);
  }

  /** Asks again for a part that failed, in its place. */
  retry(reply, lane) {
    reply.parts[lane] = newPart(this.#modelOf(reply.parts[lane]));
    this.#emit("changed");
    this.#run(this.conversation, reply, lane);
  }

  /** An imported answer names no model. */
  #modelOf(part) {
    return part.model || this.conversation.models[0];
  }

  choose(node) {
    choose(this.conversation, node);
    this.#saveSoon(this.conversation);
    this.#emit("changed");
  }

  siblings(node) {
    return siblings(this.conversation, node);
  }

  stop() {
    for (const [part, { conversation }] of this.#running) {
      if (conversation === this.conversation) this.stopPart(part);
    }
  }

  stopPart(part) {
    this.#running.get(part)?.controller.abort();
  }

  #reply(parent, parts) {
    const { conversation } = this;
    const reply = addReply(conversation, parent, parts);
    store.setPreference("open", conversation.id);
    reply.parts.forEach((part, lane) => {
      if (part.state === "waiting") this.#run(conversation, reply, lane);
    });
    this.#save(conversation);
    this.#emit("changed", { reply });
  }

  async #run(conversation, reply, lane) {
    const part = reply.parts[lane];
    const controller = new AbortController();
    this.#running.set(part, { conversation, controller });
    const question = nodeOf(conversation, reply.parent);
    const request = {
      model: part.model,
      messages: messagesFor(conversation, question, lane, part.model),
      ...validSettings(conversation.settings),
    };
    try {
      await this.#write(part, streamAnswer(request, store.apiKey(), controller.signal), conversation);
      part.state = "done";
    } catch (error) {
      this.#fail(part, error, controller.signal);
    }
    this.#running.delete(part);
    conversation.updated = Date.now();
    this.#save(conversation);
    if (conversation === this.conversation) this.#emit("ended", { reply, lane, part });
  }

  async #write(part, events, conversation) {
    const started = performance.now();
    let first = null;
    for await (const event of events) {
      const now = performance.now();
      if (event.finish) part.finish = event.finish;
      if (event.usage) part.usage = event.usage;
      if (!event.text) continue;
      first ??= now;
      part.state = "writing";
      part.text += event.text;
      part.pieces += 1;
      part.first = (first - started) / 1000;
      part.seconds = (now - started) / 1000;
      this.#saveSoon(conversation);
      if (conversation === this.conversation) this.#emit("written", { part });
    }
  }

  #fail(part, error, signal) {
    if (signal.aborted || this.#isLeaving) {
      part.state = "stopped";
      return;
    }
    part.state = "failed";
    const { kind = "page", status = 0, message, retryAfter = null } = error;
    part.error = { kind, status, message, retryAfter };
  }

  // Storage.

  #saveSoon(conversation) {
    this.#unsaved.add(conversation);
    this.#saveTimer ??= setTimeout(() => this.#saveAll(), SAVE_EVERY);
  }

  #saveAll() {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = null;
    for (const conversation of this.#unsaved) this.#save(conversation);
  }

  #save(conversation) {
    this.#unsaved.delete(conversation);
    if (this.#gone.has(conversation.id)) return;
    try {
      store.save(conversation, titleOf(conversation));
      this.#emit("listed");
    } catch (error) {
      this.#emit("storage", { kind: error.kind });
    }
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** An answer that comes sooner comes at once: the clock says nothing of how fast it was written. */
const SHORTEST = 0.1;

/** How fast a part was written, in tokens a second, or null. */
export function rateOf(part) {
  const tokens = part.usage?.completion ?? part.pieces;
  if (!part.seconds || !tokens) return null;
  const writing = part.seconds - part.first;
  // The first token comes with the prompt: the others took the time since.
  return tokens > 1 && writing > SHORTEST ? (tokens - 1) / writing : tokens / part.seconds;
}
