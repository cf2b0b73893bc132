// The list of threads: pinned ones first, then the most recently active.

import { hrefOf } from "../shared/address.js";
import { get, query } from "../shared/api.js";
import { arrange, byId, el, icon, rove } from "../shared/dom.js";
import { attempted } from "../shared/toast.js";
import { brief, plural } from "../shared/words.js";

const PAGE = 40;
const SETTLE_MS = 600;
// Many changes at once cause one reload of the list.
const BUSY_MS = 2_000;

export const titleOf = (thread) => thread.title || thread.id;

const order = (thread) => `${thread.is_pinned ? 1 : 0}${thread.last_message_at ?? thread.created_at}`;

// A streaming answer has no text yet, and that of an archived one may not be available.
const previewOf = ({ last_message_preview: preview, message_count: count }) =>
  preview || (count ? "…" : "No messages yet");

export class ThreadList {
  #threads = new Map();
  #rows = new Map();
  #cursor = null;
  #isArchived = false;
  #isPaging = false;
  #current = null;
  #timer = null;
  #readAt = 0;
  #list = byId("threads");
  #more = byId("threads-more");
  #note = byId("threads-note");
  #unsentIn;
  #settleFocus;

  // `unsentIn` gives the number of unsent messages of a thread.
  constructor(unsentIn) {
    this.#unsentIn = unsentIn;
    this.#settleFocus = rove(this.#list, "a");
    this.#more.addEventListener("click", () => this.#page());
    new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && this.#page()).observe(this.#more);
    for (const tab of document.querySelectorAll("[data-archived]")) {
      tab.addEventListener("click", () => this.#show(tab.dataset.archived === "true"));
    }
  }

  // Reads the newest threads again. Shown threads stay until the answer is there, and older ones
  // stay.
  async load() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#readAt = Date.now();
    const isArchived = this.#isArchived;
    try {
      const [pinned, page] = await Promise.all([this.#read({ is_pinned: true }), this.#read({ is_pinned: false })]);
      if (isArchived !== this.#isArchived) return;
      const older = this.#older(page);
      this.#threads = new Map([...pinned.threads, ...page.threads, ...older].map((one) => [one.id, one]));
      if (!older.length) this.#cursor = page.next_cursor;
      const none = isArchived ? "No archived threads." : "No threads yet: start one with New.";
      this.#say(page.warning ? "A server is down: this list may be incomplete." : this.#threads.size ? "" : none, page.warning);
      this.#render();
    } catch (error) {
      this.#say(`The list cannot be read: ${error.message}`, true);
    }
  }

  get(threadId) {
    return this.#threads.get(threadId);
  }

  turnTo(threadId) {
    this.#current = threadId;
    this.#render();
  }

  // Redraws a thread's row: its number of unsent messages has changed.
  unsentChanged() {
    this.#render();
  }

  focusCurrent() {
    const place = this.#list.querySelector("[aria-current]") ?? this.#list.querySelector('a[tabindex="0"]');
    (place ?? byId("new-thread")).focus();
  }

  // A message came: its thread moves up at once, the exact figures follow.
  heard(message) {
    const thread = this.#threads.get(message.thread_id);
    if (thread && (thread.last_message_at ?? "") < message.created_at) {
      this.#threads.set(thread.id, {
        ...thread,
        message_count: thread.message_count + 1,
        last_message_at: message.created_at,
        last_message_preview: message.content.slice(0, 200) || thread.last_message_preview,
      });
      this.#render();
    }
    this.refreshSoon();
  }

  // A thread was changed: a deleted one, or one of the other list now, leaves this list.
  changed(thread) {
    if (thread.deleted_at || Boolean(thread.is_archived) !== this.#isArchived) this.#threads.delete(thread.id);
    this.#render();
    this.refreshSoon();
  }

  refreshSoon() {
    const wait = Math.max(SETTLE_MS, this.#readAt + BUSY_MS - Date.now());
    this.#timer ??= setTimeout(() => this.load(), wait);
  }

  #read(values) {
    return get(`/api/threads${query({ limit: PAGE, is_archived: this.#isArchived, ...values })}`);
  }

  // The known threads after a page, which were read before.
  #older({ threads, next_cursor: cursor }) {
    if (cursor === null) return [];
    const listed = new Set(threads.map(({ id }) => id));
    const last = order(threads.at(-1));
    return [...this.#threads.values()].filter((one) => !one.is_pinned && !listed.has(one.id) && order(one) < last);
  }

  async #page() {
    if (this.#isPaging || this.#cursor === null) return;
    const isArchived = this.#isArchived;
    this.#isPaging = true;
    await attempted("Older threads cannot be read", async () => {
      const page = await this.#read({ cursor: this.#cursor, is_pinned: false });
      if (isArchived !== this.#isArchived) return;
      for (const thread of page.threads) this.#threads.set(thread.id, thread);
      this.#cursor = page.next_cursor;
      this.#render();
    });
    this.#isPaging = false;
  }

  #show(isArchived) {
    this.#isArchived = isArchived;
    this.#threads.clear();
    this.#cursor = null;
    for (const tab of document.querySelectorAll("[data-archived]")) {
      tab.setAttribute("aria-pressed", String((tab.dataset.archived === "true") === isArchived));
    }
    this.load();
  }

  #say(text, isTrouble = false) {
    if (this.#note.textContent !== text) this.#note.textContent = text;
    this.#note.classList.toggle("trouble", Boolean(isTrouble));
  }

  #render() {
    const sorted = [...this.#threads.values()].sort((a, b) => (order(a) < order(b) ? 1 : -1));
    arrange(
      this.#list,
      sorted.map((thread) => this.#row(thread)),
    );
    for (const id of this.#rows.keys()) if (!this.#threads.has(id)) this.#rows.delete(id);
    this.#more.hidden = this.#cursor === null;
    this.#settleFocus();
  }

  // The row of a thread: the same element as long as it is listed.
  #row(thread) {
    const row = this.#rows.get(thread.id) ?? el("li", {}, el("a", { href: hrefOf(thread.id), tabindex: "-1" }));
    this.#rows.set(thread.id, row);
    const link = row.firstChild;
    const isCurrent = thread.id === this.#current;
    if (isCurrent) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    const when = thread.last_message_at ?? thread.created_at;
    const unsent = this.#unsentIn(thread.id);
    const sign = JSON.stringify([thread, brief(when), unsent]);
    if (row.dataset.sign === sign) return row;
    row.dataset.sign = sign;
    const pinned = () => el("span", { class: "pin" }, icon("pin"), el("span", { class: "unseen" }, "pinned"));
    const pin = thread.is_pinned ? pinned() : null;
    link.replaceChildren(
      el("span", { class: "thread-title", dir: "auto" }, titleOf(thread)),
      el("time", { datetime: when }, pin, brief(when)),
      unsent
        ? el("span", { class: "preview trouble" }, `${unsent} not sent`)
        : el("span", { class: "preview", dir: "auto" }, previewOf(thread)),
      el("span", { class: "count", title: plural(thread.message_count, "message") },
        el("span", { "aria-hidden": "true" }, String(thread.message_count)),
        el("span", { class: "unseen" }, plural(thread.message_count, "message")),
      ),
    );
    return row;
  }
}
