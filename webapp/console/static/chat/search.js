// The search box: searches all threads while the query is typed.

import { hrefOf } from "../shared/address.js";
import { get, path, query } from "../shared/api.js";
import { arrange, byId, el, rove } from "../shared/dom.js";
import { nameOf } from "./message-view.js";
import { excerpt } from "./text.js";
import { titleOf } from "./thread-list.js";
import { brief, plural } from "../shared/words.js";

const SETTLE_MS = 250;
const PAGE = 20;

export class Search {
  #field = byId("search");
  #results = byId("results");
  #note = byId("results-note");
  #more = byId("results-more");
  #timer = null;
  #asked = 0;
  #cursor = null;
  #rows = [];
  #threadOf;
  #titles = new Map();
  #settleFocus;

  // `threadOf` gives a thread by its id, if it is known.
  constructor(threadOf) {
    this.#threadOf = threadOf;
    this.#settleFocus = rove(this.#results, "a");
    this.#field.addEventListener("input", () => this.#soon());
    this.#field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#clear();
      if (event.key === "ArrowDown") this.#results.querySelector("a")?.focus();
    });
    byId("search-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
    });
    this.#more.addEventListener("click", () => this.#ask(this.#cursor));
    addEventListener("hashchange", () => this.#markOpen());
    addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "k") return;
      event.preventDefault();
      // On a phone the field is in the list of threads.
      if (!this.#field.checkVisibility()) location.hash = "";
      requestAnimationFrame(() => this.#field.select());
    });
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), SETTLE_MS);
  }

  async #ask(cursor = null) {
    clearTimeout(this.#timer);
    const words = this.#field.value.trim();
    const turn = (this.#asked += 1);
    byId("found").hidden = !words;
    byId("listed").hidden = Boolean(words);
    if (!words) return;
    if (!cursor) this.#say("Searching…");
    try {
      const page = await get(`/api/search${query({ q: words, limit: PAGE, cursor })}`);
      if (turn === this.#asked) this.#show(page, cursor);
    } catch (error) {
      if (turn !== this.#asked) return;
      this.#rows = [];
      this.#show({ messages: [], next_cursor: null }, null);
      this.#say(error.status === 404 ? "This server has no search." : `No search: ${error.message}`, true);
    }
  }

  #show(page, cursor) {
    const rows = page.messages.map((message) => this.#row(message));
    this.#rows = cursor ? [...this.#rows, ...rows] : rows;
    this.#cursor = page.next_cursor;
    this.#more.hidden = !page.next_cursor;
    arrange(this.#results, this.#rows);
    this.#markOpen();
    const found = plural(this.#rows.length, "message");
    const tail = page.warning ? " A server is down: there may be more." : "";
    this.#say(`${this.#rows.length ? found : "Nothing"}${page.next_cursor ? ", and more" : ""} found.${tail}`);
    this.#settleFocus();
    this.#nameThreads(page.messages);
  }

  // Hits may be in threads that are not listed: their titles are requested one by one.
  async #nameThreads(messages) {
    const turn = this.#asked;
    for (const id of new Set(messages.map(({ thread_id: of }) => of))) {
      if (this.#threadOf(id) || this.#titles.has(id)) continue;
      const thread = await get(path`/api/threads/${id}`).catch(() => null);
      if (thread) this.#titles.set(id, titleOf(thread));
      if (turn !== this.#asked) return;
      for (const place of this.#results.querySelectorAll(`[data-thread="${id}"]`)) place.textContent = this.#titleOf(id);
    }
  }

  #titleOf(id) {
    const thread = this.#threadOf(id);
    return thread ? titleOf(thread) : this.#titles.get(id) ?? id;
  }

  #row(message) {
    return el(
      "li",
      {},
      el(
        "a",
        { href: hrefOf(message.thread_id, message.id), tabindex: "-1" },
        el("span", { class: "thread-title", dir: "auto", "data-thread": message.thread_id }, this.#titleOf(message.thread_id)),
        el("time", { datetime: message.created_at }, brief(message.created_at)),
        el(
          "span",
          { class: "preview found-text", dir: "auto" },
          el("span", { class: "speaker" }, `${nameOf(message.role)}: `),
          ...excerpt(message.content, message.highlights ?? []),
        ),
      ),
    );
  }

  // Marks the result whose message is open, as the list marks the thread.
  #markOpen() {
    for (const link of this.#results.querySelectorAll("a")) {
      if (link.hash === location.hash) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  #clear() {
    this.#field.value = "";
    this.#ask();
  }

  #say(text, isTrouble = false) {
    this.#note.textContent = text;
    this.#note.classList.toggle("trouble", isTrouble);
  }
}
