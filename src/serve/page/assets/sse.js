// Server-sent events, as the stream of an answer uses them: the data of each event.

/** Collects text that arrives in arbitrary pieces into the data of whole events. */
export class EventParser {
  #rest = "";
  #data = [];

  /** The data of the events that `text` completes. */
  push(text) {
    this.#rest += text;
    const events = [];
    for (;;) {
      const end = this.#rest.search(/[\r\n]/);
      if (end < 0) return events;
      // A carriage return at the very end may be half of a line's end.
      if (this.#rest[end] === "\r" && end + 1 === this.#rest.length) return events;
      const line = this.#rest.slice(0, end);
      const width = this.#rest.startsWith("\r\n", end) ? 2 : 1;
      this.#rest = this.#rest.slice(end + width);
      const data = this.#line(line);
      if (data !== null) events.push(data);
    }
  }

  #line(line) {
    if (line === "") {
      if (this.#data.length === 0) return null;
      const data = this.#data.join("\n");
      this.#data = [];
      return data;
    }
    if (line === "data") this.#data.push("");
    else if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
    return null;
  }
}

/** The data of each event of a response's body. */
export async function* eventsOf(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    // Tells the server, too, that nobody listens any more.
    reader.cancel().catch(() => {});
  }
}
