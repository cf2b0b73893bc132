// Where a message is written: Enter sends, Shift and Enter breaks the line.

import { byId } from "./dom.js";

const MOST_BYTES = 64 * 1024;
const WARN_BYTES = 56 * 1024;

export class Composer {
  #drafts = new Map();
  #threadId = null;
  #field = byId("composer-text");
  #note = byId("composer-note");

  constructor(send) {
    const submit = () => {
      const text = this.#field.value;
      if (!text.trim() || this.#isTooLong()) return;
      this.#field.value = "";
      this.#fit();
      send(this.#threadId, text);
    };
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
      this.#field.focus();
    });
    this.#field.addEventListener("input", () => this.#fit());
    this.#field.addEventListener("keydown", (event) => {
      // The Enter that ends a composition of an input method is not meant for us.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      submit();
    });
  }

  // Goes to a thread; what was begun in the one before is there again on the way back.
  turnTo(threadId) {
    if (this.#threadId !== null) this.#drafts.set(this.#threadId, this.#field.value);
    this.#threadId = threadId;
    this.#field.value = this.#drafts.get(threadId) ?? "";
    this.#fit();
  }

  focus() {
    this.#field.focus();
  }

  #fit() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight + 2}px`;
    const size = this.#size();
    this.#note.textContent = size > WARN_BYTES ? `${size} of ${MOST_BYTES} bytes` : "";
    this.#note.classList.toggle("trouble", this.#isTooLong());
  }

  #size() {
    const { value } = this.#field;
    return value.length < WARN_BYTES / 3 ? 0 : new TextEncoder().encode(value).length;
  }

  #isTooLong() {
    return this.#size() > MOST_BYTES;
  }
}
