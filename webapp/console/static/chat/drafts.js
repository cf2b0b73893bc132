// Drafts: of messages by their thread, of edits by their message.

import { keep, kept } from "../shared/kept.js";

const SETTLE_MS = 300;

export class Drafts {
  #place;
  #texts;
  #timer = null;

  constructor(userId) {
    this.#place = `drafts.${userId}`;
    this.#texts = new Map(Object.entries(kept(this.#place, {})));
    addEventListener("pagehide", () => this.#keep());
  }

  of(name) {
    return this.#texts.get(name) ?? "";
  }

  put(name, text) {
    if (text) this.#texts.set(name, text);
    else this.#texts.delete(name);
    // Not at each keystroke: the text may be long.
    this.#timer ??= setTimeout(() => this.#keep(), SETTLE_MS);
  }

  #keep() {
    clearTimeout(this.#timer);
    this.#timer = null;
    keep(this.#place, Object.fromEntries(this.#texts));
  }
}
