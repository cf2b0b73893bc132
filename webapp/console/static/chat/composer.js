// The input of a message: Enter sends, Shift+Enter breaks the line.

import { byId } from "../shared/dom.js";
import { count } from "../shared/words.js";

const MOST_BYTES = 64 * 1024;
const WARN_BYTES = 56 * 1024;
// On a touch screen Enter breaks the line, as usual there.
const HAS_KEYS = matchMedia("(hover: hover)");

export class Composer {
  #drafts;
  #threadId = null;
  #field = byId("composer-text");
  #note = byId("composer-note");

  constructor(drafts, send) {
    this.#drafts = drafts;
    const submit = () => {
      const text = this.#field.value;
      if (!text.trim() || this.#isTooLong()) return;
      this.#field.value = "";
      this.#drafts.put(this.#threadId, "");
      this.#fit();
      send(this.#threadId, text);
    };
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
      this.#field.focus();
    });
    this.#field.addEventListener("input", () => {
      this.#drafts.put(this.#threadId, this.#field.value);
      this.#fit();
    });
    this.#field.addEventListener("keydown", (event) => {
      // The Enter that ends a composition of an input method does not send.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || !HAS_KEYS.matches) return;
      event.preventDefault();
      submit();
    });
  }

  // Switches to a thread; the draft of the one before is kept.
  turnTo(threadId) {
    this.#threadId = threadId;
    this.#field.value = this.#drafts.of(threadId);
    this.#fit();
  }

  focus() {
    this.#field.focus();
  }

  #fit() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight + 2}px`;
    const size = this.#size();
    this.#note.textContent = size > WARN_BYTES ? `${count(size)} of ${count(MOST_BYTES)} bytes` : "";
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
