// The list of threads: those that are pinned, then those that were active last.

import { get, query } from "./api.js";
import { arrange, byId, el, icon, rove } from "./dom.js";
import { brief, plural } from "./words.js";

const PAGE = 40;
const SETTLE_MS = 600;

export const titleOf = (thread) => thread.title || thread.id;
export const hrefOf = (threadId, messageId) =>
  `#/${encodeURIComponent(threadId)}${messageId ? `/${messageId}` : ""}`;

export class ThreadList {
  #threads = new Map();
  #rows = new Map();
  #cursor = null;
  #isArchived = false;
  #current = null;
  #timer = null;
  #list = byId("threads");
  #more = byId("threads-more");
  #note = byId("threads-note");
  #settleFocus;

  constructor() {
    this.#settleFocus = rove(this.#list, "a");
    this.#more.addEventListener("click", () => this.#page());
    for (const tab of document.querySelectorAll("[data-archived]")) {
      tab.addEventListener("click", () => this.#show(tab.dataset.archived === "true"));
    }
  }

  // Reads the list anew. What is shown stays until the answer is there.
  async load() {
    clearTimeout(this.#timer);
    const isArchived = this.#isArchived;
    try {
      const [pinned, page] = await Promise.all([
        get(`/api/threads${query({ limit: PAGE, is_archived: isArchived, is_pinned: true })}`),
        get(`/api/threads${query({ limit: PAGE, is_archived: isArchived, is_pinned: false })}`),
      ]);
      if (isArchived !== this.#isArchived) return;
      this.#threads = new Map([...pinned.threads, ...page.threads].map((one) => [one.id, one]));
      this.#cursor = page.next_cursor;
      this.#note.textContent = this.#threads.size ? "" : isArchived ? "No archived threads." : "No threads yet.";
      this.#note.classList.toggle("trouble", Boolean(page.warning));
      if (page.warning) this.#note.textContent = "A server is out: this list may be behind.";
      this.#render();
    } catch (error) {
      this.#note.textContent = `The list cannot be read: ${error.message}`;
      this.#note.classList.add("trouble");
    }
  }

  get(threadId) {
    return this.#threads.get(threadId);
  }

  turnTo(threadId) {
    this.#current = threadId;
    this.#render();
  }

  // A message came: its thread moves up at once, and the exact figures follow.
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

  refreshSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.load(), SETTLE_MS);
  }

  async #page() {
    const isArchived = this.#isArchived;
    const page = await get(
      `/api/threads${query({ limit: PAGE, cursor: this.#cursor, is_archived: isArchived, is_pinned: false })}`,
    );
    if (isArchived !== this.#isArchived) return;
    for (const thread of page.threads) this.#threads.set(thread.id, thread);
    this.#cursor = page.next_cursor;
    this.#render();
  }

  #show(isArchived) {
    this.#isArchived = isArchived;
    for (const tab of document.querySelectorAll("[data-archived]")) {
      tab.setAttribute("aria-pressed", String((tab.dataset.archived === "true") === isArchived));
    }
    this.load();
  }

  #render() {
    const order = (thread) => `${thread.is_pinned ? 1 : 0}${thread.last_message_at ?? thread.created_at}`;
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
    const sign = JSON.stringify([thread, brief(when)]);
    if (row.dataset.sign === sign) return row;
    row.dataset.sign = sign;
    const pinned = () => el("span", { class: "pin" }, icon("pin"), el("span", { class: "unseen" }, "pinned"));
    const pin = thread.is_pinned ? pinned() : null;
    link.replaceChildren(
      el("span", { class: "thread-title", dir: "auto" }, titleOf(thread)),
      el("time", { datetime: when }, pin, brief(when)),
      el("span", { class: "preview", dir: "auto" }, thread.last_message_preview ?? "No messages yet"),
      el("span", { class: "count", title: plural(thread.message_count, "message") },
        el("span", { "aria-hidden": "true" }, String(thread.message_count)),
        el("span", { class: "unseen" }, plural(thread.message_count, "message")),
      ),
    );
    return row;
  }
}
