// Messages that are not acknowledged yet. None is lost, not even by a reload: temporary failures are
// retried with the same key, and refused messages stay until their writer decides.

import { call, mayPass, path } from "../shared/api.js";
import { keep, kept } from "../shared/kept.js";
import { isOver } from "../shared/session.js";
import { toast } from "../shared/toast.js";

const TROUBLE = { isTrouble: true };
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
// The server keeps a key for a day.
const KNOWN_MS = 23 * 3_600_000;

// An entry is `queued` behind others, `sending`, `waiting` for its retry, or `failed`.
export class Outgoing {
  #entries;
  #place;
  #isKept = true;
  #turns = new Map();
  #wakers = new Map();
  #changed;
  #sent;

  // `sent` is called with each acknowledgement, `changed` with the thread whose entries changed.
  constructor(userId, changed, sent) {
    this.#place = `unsent.${userId}`;
    this.#changed = changed;
    this.#sent = sent;
    this.#entries = kept(this.#place, []);
    addEventListener("online", () => this.nudge());
    addEventListener("beforeunload", (event) => this.#entries.length && !isOver() && event.preventDefault());
  }

  // Resumes messages left before a reload. Whether they arrived is unknown; a retry is safe as long
  // as the server keeps the key.
  resume() {
    for (const entry of this.#entries) {
      entry.state = "kept";
      if (Date.now() - Date.parse(entry.at) < KNOWN_MS) this.retry(entry);
      else Object.assign(entry, { state: "failed", error: "It is a day old; it may have been sent already." });
    }
  }

  of(threadId) {
    return this.#entries.filter((entry) => entry.threadId === threadId);
  }

  // How many of a thread are held up: those behind a waiting one wait as well.
  stuckIn(threadId) {
    const entries = this.of(threadId);
    return entries.some(({ state }) => state === "waiting" || state === "failed") ? entries.length : 0;
  }

  send(threadId, text) {
    const entry = { key: crypto.randomUUID?.() ?? fallbackKey(), threadId, text, at: new Date().toISOString() };
    this.#entries.push(entry);
    this.retry(entry);
  }

  // Sends or retries it; those of a thread one after the other, so that they keep their order.
  retry(entry) {
    if (entry.state === "waiting") {
      this.#wakers.get(entry)?.();
      return;
    }
    Object.assign(entry, { state: "queued", error: "" });
    this.#tell(entry.threadId);
    const before = this.#turns.get(entry.threadId) ?? Promise.resolve();
    this.#turns.set(
      entry.threadId,
      before.then(() => this.#post(entry)),
    );
  }

  // Retries all waiting ones now: the network is back.
  nudge() {
    for (const wake of this.#wakers.values()) wake();
  }

  discard(entry) {
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#wakers.get(entry)?.();
    this.#tell(entry.threadId);
  }

  discardAll(threadId) {
    for (const entry of this.of(threadId)) this.discard(entry);
  }

  // Whether a received message is probably one whose acknowledgement is still on its way.
  expects({ thread_id: threadId, role, content }) {
    return this.of(threadId).some(
      (entry) => entry.state !== "failed" && role === "user" && entry.text === content,
    );
  }

  // Until it is acknowledged, discarded by its writer, or refused for good.
  async #post(entry) {
    for (let wait = FIRST_WAIT_MS; this.#entries.includes(entry); wait = Math.min(LONGEST_WAIT_MS, 2 * wait)) {
      entry.state = "sending";
      try {
        const answer = await call("POST", path`/api/threads/${entry.threadId}/messages`, { message: entry.text }, {
          "Idempotency-Key": entry.key,
        });
        this.#entries = this.#entries.filter((other) => other !== entry);
        this.#sent(answer);
      } catch (error) {
        if (isOver()) return;
        const isLater = mayPass(error);
        Object.assign(entry, { state: isLater ? "waiting" : "failed", error: error.message });
        this.#tell(entry.threadId);
        if (!isLater) return;
        await this.#pause(entry, Math.max(wait, error.retryAfterMs ?? 0));
      }
      this.#tell(entry.threadId);
    }
  }

  // Ends earlier if it is woken.
  async #pause(entry, milliseconds) {
    let timer = null;
    await new Promise((done) => {
      timer = setTimeout(done, milliseconds);
      this.#wakers.set(entry, done);
    });
    clearTimeout(timer);
    this.#wakers.delete(entry);
  }

  #tell(threadId) {
    const isKept = keep(this.#place, this.#entries);
    if (!isKept && this.#isKept) toast("The browser has no space for unsent messages: leave this page open.", TROUBLE);
    this.#isKept = isKept;
    this.#changed(threadId);
  }
}

// Browsers make UUIDs only in secure contexts; a key need only be unlikely to repeat.
function fallbackKey() {
  return [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("-");
}
