// A conversation: the messages of one thread, read in pages both ways and kept up to date.

import { call, get, path, query } from "../shared/api.js";
import { confirmed } from "../shared/dialogs.js";
import { actionButton, arrange, byId, el, rove } from "../shared/dom.js";
import { MessageView, nameOf, unsentView } from "./message-view.js";
import { Messages } from "./messages.js";
import { Receipts } from "./receipts.js";
import { showReceipt } from "./receipt-dialog.js";
import { STATE_OF } from "./stitches.js";
import { ScrollKeeper } from "./scroll-keeper.js";
import { attempted } from "../shared/toast.js";
import { dayName, dayOf } from "../shared/words.js";

const PAGE = 40;
const EMPTY = "No messages yet. Write the first one.";

export class Conversation {
  #threadId = null;
  #turn = 0;
  #messages = new Messages();
  #views = new Map();
  #days = new Map();
  #older = null;
  #isAtEnd = true;
  #isReading = false;
  #isEmpty = false;
  #list = byId("messages");
  #note = byId("messages-note");
  #scroll = new ScrollKeeper(byId("scroller"), this.#list, byId("to-newest"), {
    edge: () => this.#nearEdge(),
    newest: () => this.#newest(),
  });
  #outgoing;
  #drafts;
  #receipts = new Receipts(byId("scroller"), (id) => this.#update(id));
  #settleFocus = rove(this.#list, ".message[data-id]", { fromEnd: true });

  constructor(outgoing, drafts) {
    this.#outgoing = outgoing;
    this.#drafts = drafts;
  }

  get threadId() {
    return this.#threadId;
  }

  // Opens a thread at a message, or at the end. Throws `Problem` with 404 for an unknown thread.
  async open(threadId, messageId = null) {
    this.#threadId = threadId;
    this.#turn += 1;
    this.#receipts.forget();
    [this.#messages, this.#older] = [new Messages(), null];
    this.#views.clear();
    this.#list.replaceChildren();
    this.#note.textContent = "Reading…";
    if (messageId === null) await this.#newest();
    else await this.#around(messageId);
  }

  // No thread is open.
  close() {
    this.#threadId = null;
    this.#turn += 1;
    this.#receipts.forget();
  }

  // Shows why the thread cannot be read, and offers to retry.
  cannotBeRead(why, again) {
    this.#note.replaceChildren(`It cannot be read: ${why} `, actionButton("Try again", again, { class: "inline" }));
  }

  // Removes all messages, except unsent ones.
  emptied(why) {
    this.#turn += 1;
    this.#messages = new Messages();
    this.#older = null;
    this.#isAtEnd = true;
    this.#render();
    this.#note.textContent = why;
    this.#isEmpty = true;
  }

  // Reads the newest page; starts over if it does not join the messages that are shown.
  async refresh() {
    if (this.#threadId === null || !this.#isAtEnd) return;
    await this.#newest({ keep: true });
  }

  // A sender sees the new message, wherever the list was scrolled to.
  async toEnd() {
    if (!this.#isAtEnd) await this.#newest();
    this.#scroll.toEnd();
  }

  heard(message) {
    if (message.thread_id !== this.#threadId || !this.#isAtEnd) return;
    const isNew = !this.#messages.get(message.id);
    if (!this.#messages.take(message)) return;
    const tier = message.tier_used;
    this.#receipts.note(message.id, message.version, STATE_OF[tier] ?? "acknowledged", tier ? { tier } : {});
    if (isNew) this.#render({ isNews: true });
    else this.#update(message.id);
  }

  // Takes a new version. Returns whether it finishes a streaming message.
  updated(message) {
    const wasOpen = this.#messages.get(message.id)?.streamed !== undefined;
    if (this.#messages.get(message.id) && this.#messages.take(message)) {
      this.#receipts.note(message.id, message.version, "acknowledged");
      this.#scroll.keeping(() => this.#update(message.id));
    }
    return wasOpen && this.#messages.get(message.id)?.streamed === undefined;
  }

  persisted({ message_id: id, version }) {
    this.#receipts.note(id, version, "persisted");
  }

  deleted({ message_id: id, version }) {
    if (this.#messages.drop(id, version)) this.#render();
  }

  // Appends a chunk of a streaming message; if one is missing, reads the whole text.
  async chunk(frame) {
    if (frame.thread_id !== this.#threadId || !this.#messages.get(frame.message_id)) return;
    if (!this.#messages.append(frame)) {
      const whole = await get(path`/api/messages/${frame.message_id}`).catch(() => null);
      if (whole) this.#messages.take(whole);
    }
    this.#scroll.keeping(() => this.#update(frame.message_id));
  }

  unsentChanged() {
    this.#render({ isNews: true });
  }

  // A page of the thread, null if another one was opened meanwhile.
  async #page(values) {
    const turn = this.#turn;
    const page = await get(path`/api/threads/${this.#threadId}/messages` + query({ limit: PAGE, ...values }));
    return turn === this.#turn ? page : null;
  }

  async #newest({ keep = false } = {}) {
    const page = await this.#page({});
    if (!page) return;
    const joins = page.messages.some(({ id }) => this.#messages.get(id)) || page.next_cursor === null;
    if (!keep || !joins) this.#messages.clear();
    if (!keep || !joins || page.next_cursor === null) this.#older = page.next_cursor;
    if (keep && joins) this.#dropUnlisted(page);
    this.#isAtEnd = true;
    this.#take(page, { toEnd: !keep });
  }

  // Removes messages deleted while the socket was down: they are missing from the page.
  #dropUnlisted({ messages, next_cursor: cursor }) {
    const listed = new Set(messages.map(({ id }) => id));
    const newest = messages[0]?.id ?? "";
    for (const { id, version } of this.#messages.sorted()) {
      const isCovered = (cursor === null || id >= cursor) && id <= newest;
      if (isCovered && !listed.has(id)) this.#messages.drop(id, version);
    }
  }

  async #around(messageId) {
    const [message, before, after] = await Promise.all([
      get(path`/api/messages/${messageId}`),
      this.#page({ cursor: messageId }),
      this.#page({ cursor: messageId, order: "asc" }),
    ]);
    if (!before || !after) return;
    this.#older = before.next_cursor;
    this.#isAtEnd = after.next_cursor === null;
    const messages = [...before.messages, message, ...after.messages];
    this.#take({ messages, warning: before.warning }, { isBehind: true });
    const view = this.#views.get(messageId);
    if (!view) return;
    this.#scroll.show(view.element);
    view.element.focus({ preventScroll: true });
    view.element.classList.add("found");
    byId("to-newest").hidden = this.#isAtEnd;
  }

  async #nearEdge() {
    // A thread that is still being opened has no edges; those on the page are of the one before.
    if (this.#isReading || this.#threadId === null || !this.#messages.size) return;
    this.#isReading = true;
    try {
      if (this.#scroll.isNearTop && this.#older) {
        const page = await this.#page({ cursor: this.#older });
        if (page) {
          this.#older = page.next_cursor;
          this.#take(page);
        }
      }
      if (this.#scroll.isNearEnd && !this.#isAtEnd) {
        const last = this.#messages.sorted().at(-1);
        const page = await this.#page({ cursor: last.id, order: "asc" });
        if (page) {
          this.#isAtEnd = page.next_cursor === null;
          this.#take(page, { isBehind: true });
        }
      }
    } catch (error) {
      this.#note.textContent = `More cannot be read: ${error.message}`;
    } finally {
      this.#isReading = false;
    }
  }

  #take(page, how = {}) {
    for (const message of page.messages) this.#messages.take(message);
    this.#note.textContent = page.warning ? "A server is down: some messages may be missing here." : "";
    if (!this.#messages.size) this.#note.textContent = EMPTY;
    this.#isEmpty = !this.#messages.size;
    this.#render(how);
  }

  #render({ toEnd = false, isNews = false, isBehind = false } = {}) {
    const wanted = [];
    let [day, speaker] = ["", ""];
    for (const message of this.#messages.sorted()) {
      if (dayOf(message.created_at) !== day) {
        day = dayOf(message.created_at);
        speaker = "";
        wanted.push(this.#dayMark(day, message.created_at));
      }
      const { element } = this.#view(message);
      element.classList.toggle("follows", speaker === message.role);
      speaker = message.role;
      wanted.push(element);
    }
    if (this.#isAtEnd) wanted.push(...this.#unsent());
    if (this.#messages.size && this.#isEmpty) this.#note.textContent = "";
    this.#isEmpty = !this.#messages.size;
    this.#scroll.keeping(() => arrange(this.#list, wanted), { toEnd, isNews, isBehind });
    this.#settleFocus();
    byId("beginning").hidden = this.#older !== null || !this.#messages.size;
  }

  #unsent() {
    const actions = {
      retry: (entry) => this.#outgoing.retry(entry),
      discard: (entry) => this.#outgoing.discard(entry),
    };
    return this.#outgoing.of(this.#threadId).map((entry) => unsentView(entry, actions));
  }

  #view(message) {
    const known = this.#views.get(message.id);
    if (known) return known;
    const view = new MessageView(message, {
      receipt: ({ id }) => showReceipt(() => this.#receipts.fetch(id)),
      save: (shown, text) => this.#save(shown, text),
      remove: (shown) => this.#remove(shown),
    }, this.#drafts);
    this.#views.set(message.id, view);
    this.#receipts.watch(view.element, message.id);
    view.update(message, this.#receipts.of(message.id, message.version));
    return view;
  }

  #update(id) {
    const message = this.#messages.get(id);
    if (message) this.#views.get(id)?.update(message, this.#receipts.of(id, message.version));
  }

  #dayMark(day, moment) {
    const mark = this.#days.get(day) ?? el("li", { class: "day" });
    this.#days.set(day, mark);
    mark.textContent = dayName(moment);
    return mark;
  }

  #save({ id, version }, text) {
    return attempted("The message was not changed", async () => {
      try {
        this.updated(await call("PATCH", path`/api/messages/${id}`, { message: text }, { "If-Match": `"${version}"` }));
      } catch (error) {
        if (error.status !== 412) throw error;
        this.updated(await get(path`/api/messages/${id}`));
        throw new Error("somebody else changed it meanwhile. Save once more, and yours takes its place.");
      }
    });
  }

  async #remove({ id, role, version }) {
    const agreed = await confirmed({
      title: "Delete this message?",
      text: `What ${nameOf(role).toLowerCase()} wrote leaves every tier. This cannot be undone.`,
      action: "Delete",
    });
    if (!agreed) return;
    await attempted("The message was not deleted", async () => {
      await call("DELETE", path`/api/messages/${id}`);
      this.deleted({ message_id: id, version: version + 1 });
    });
  }
}
