// The messages of one thread on this page: by id, the newest version of each.

const STREAM_MARK = "threadkeep.stream";

export class Messages {
  #byId = new Map();
  #gone = new Map();
  #sorted = null;

  get size() {
    return this.#byId.size;
  }

  // Oldest first: within a thread, order by id is order by time.
  sorted() {
    this.#sorted ??= [...this.#byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    return this.#sorted;
  }

  get(id) {
    return this.#byId.get(id);
  }

  // Takes a message unless a newer version is known. Returns whether it did.
  take(message) {
    const known = this.#byId.get(message.id);
    const gone = this.#gone.get(message.id) ?? 0;
    if (message.deleted_at || gone >= message.version || (known && known.version > message.version)) return false;
    const isStreaming = message.metadata?.[STREAM_MARK] === "open";
    const text = isStreaming ? longest(streamed(message), known?.streamed) : undefined;
    this.#byId.set(message.id, { ...message, streamed: text });
    this.#sorted = null;
    return true;
  }

  drop(id, version) {
    this.#gone.set(id, version);
    this.#sorted = null;
    return this.#byId.delete(id);
  }

  clear() {
    this.#byId.clear();
    this.#sorted = null;
  }

  // Appends a chunk at its offset, in bytes of UTF-8. False if text before it is missing.
  append({ message_id: id, offset, text }) {
    const message = this.#byId.get(id);
    if (!message?.streamed) return true;
    const chunk = new TextEncoder().encode(text);
    const { length, text: before } = message.streamed;
    if (offset > length) return false;
    if (offset + chunk.length <= length) return true;
    const added = new TextDecoder().decode(chunk.subarray(length - offset));
    message.streamed = { length: offset + chunk.length, text: before + added };
    return true;
  }
}

export function isInterrupted(message) {
  return message.metadata?.[STREAM_MARK] === "interrupted";
}

function streamed(message) {
  const text = message.stream?.text ?? message.content;
  return { text, length: new TextEncoder().encode(text).length };
}

const longest = (one, other) => (other && other.length > one.length ? other : one);
