// What was written and is not acknowledged yet. Nothing of it is lost: what failed stays until it
// is sent again, with the same key, or given up; also over a reload of the page.

import { call, path } from "./api.js";

export class Outgoing {
  #entries;
  #place;
  #turns = new Map();
  #changed;
  #sent;

  // `sent` is called with each acknowledgement, `changed` with the thread whose entries changed.
  constructor(userId, changed, sent) {
    this.#place = `threadkeep.unsent.${userId}`;
    this.#changed = changed;
    this.#sent = sent;
    this.#entries = kept(this.#place);
  }

  of(threadId) {
    return this.#entries.filter((entry) => entry.threadId === threadId);
  }

  send(threadId, text) {
    const entry = { key: crypto.randomUUID?.() ?? fallbackKey(), threadId, text, at: new Date().toISOString() };
    this.#entries.push(entry);
    this.retry(entry);
  }

  // Sends it, or sends it again; those of a thread in turn, so that they keep their order.
  retry(entry) {
    Object.assign(entry, { state: "sending", error: "" });
    this.#tell(entry.threadId);
    const before = this.#turns.get(entry.threadId) ?? Promise.resolve();
    this.#turns.set(
      entry.threadId,
      before.then(() => this.#post(entry)),
    );
  }

  discard(entry) {
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#tell(entry.threadId);
  }

  // Whether a message that was heard of is probably one whose answer is still under way.
  expects({ thread_id: threadId, role, content }) {
    return this.of(threadId).some(
      (entry) => entry.state === "sending" && role === "user" && entry.text === content,
    );
  }

  async #post(entry) {
    if (!this.#entries.includes(entry)) return;
    try {
      const answer = await call("POST", path`/api/threads/${entry.threadId}/messages`, { message: entry.text }, {
        "Idempotency-Key": entry.key,
      });
      this.#entries = this.#entries.filter((other) => other !== entry);
      this.#sent(answer);
    } catch (error) {
      Object.assign(entry, { state: "failed", error: error.message });
    }
    this.#tell(entry.threadId);
  }

  #tell(threadId) {
    sessionStorage.setItem(this.#place, JSON.stringify(this.#entries));
    this.#changed(threadId);
  }
}

// What another life of this page left: whether it arrived is not known, and the key makes it safe.
function kept(place) {
  const found = JSON.parse(sessionStorage.getItem(place) ?? "[]");
  const error = "The page was closed before the answer came.";
  return found.map((entry) => (entry.state === "sending" ? { ...entry, state: "failed", error } : entry));
}

// Browsers give UUIDs to safe origins alone; a key need only be hard to meet twice.
function fallbackKey() {
  return [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("-");
}
