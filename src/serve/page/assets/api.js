// The server's API: the models, and an answer as it is written.

import { eventsOf } from "./sse.js";

/** What the server, or the way to it, answered instead of what was asked for. */
export class ApiError extends Error {
  /**
   * @param {"refused"|"unreachable"|"broken"} kind refused: by the server; unreachable: no answer at all; broken: an
   *   answer that ended too early or is not what the API promises.
   */
  constructor(kind, { status = 0, message = "", retryAfter = null } = {}) {
    super(message);
    this.kind = kind;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The names of the models that are served, the base first: `[{id, parent}]`. */
export async function listModels(key) {
  const response = await ask("v1/models", key, { signal: AbortSignal.timeout(20000) });
  const list = await json(response);
  if (!Array.isArray(list?.data)) throw new ApiError("broken");
  const models = list.data.filter((model) => typeof model?.id === "string");
  return models.map(({ id, parent }) => ({ id, parent: parent ?? null }));
}

/**
 * Asks for an answer and yields it as it comes: `{text}`, `{finish}` and `{usage: {prompt, completion}}`.
 * Aborting `signal` ends it with an AbortError.
 */
export async function* streamAnswer(request, key, signal) {
  const response = await ask("v1/chat/completions", key, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!response.body) throw new ApiError("broken");
  let finished = false;
  try {
    for await (const data of eventsOf(response.body)) {
      if (data === "[DONE]") return;
      for (const event of read(data)) {
        finished ||= "finish" in event;
        yield event;
      }
    }
  } catch (error) {
    if (error instanceof ApiError || signal.aborted) throw error;
    throw new ApiError("broken");
  }
  // A server that says why an answer ended has ended it, even where the last line got lost.
  if (!finished) throw new ApiError("broken");
}

function* read(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new ApiError("broken");
  }
  if (chunk?.error) throw refusal(Number(chunk.error.code) || 0, chunk, null);
  const choice = chunk?.choices?.[0];
  if (typeof choice?.delta?.content === "string" && choice.delta.content) {
    yield { text: choice.delta.content };
  }
  if (choice?.finish_reason) yield { finish: String(choice.finish_reason) };
  if (chunk?.usage) {
    const { prompt_tokens: prompt, completion_tokens: completion } = chunk.usage;
    yield { usage: { prompt: Number(prompt) || 0, completion: Number(completion) || 0 } };
  }
}

async function ask(path, key, options) {
  const headers = { ...options.headers };
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    // Relative to the page, so that a proxy may serve both below a folder.
    const url = new URL(path, document.baseURI);
    response = await fetch(url, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted && error.name === "AbortError") throw error;
    throw new ApiError("unreachable");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  throw refusal(response.status, body, retryAfter);
}

function refusal(status, body, retryAfter) {
  const message = body?.error?.message;
  const text = typeof message === "string" ? message : "";
  return new ApiError("refused", { status, message: text, retryAfter });
}

async function json(response) {
  try {
    return await response.json();
  } catch {
    throw new ApiError("broken");
  }
}
