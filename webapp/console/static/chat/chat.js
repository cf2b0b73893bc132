// The chat page: connects its parts, and follows the address, which names the open thread.

import { addressed, hrefOf } from "../shared/address.js";
import { call, get, path } from "../shared/api.js";
import { Composer } from "./composer.js";
import { showConnection } from "../shared/connection.js";
import { Conversation } from "./conversation.js";
import { lineFor } from "../shared/dialogs.js";
import { byId } from "../shared/dom.js";
import { Drafts } from "./drafts.js";
import { nameOf } from "./message-view.js";
import { Outgoing } from "./outgoing.js";
import { Search } from "./search.js";
import { LiveSocket } from "../shared/socket.js";
import { start } from "../shared/start.js";
import { ThreadBar } from "./thread-bar.js";
import { ThreadList, titleOf } from "./thread-list.js";
import { attempted, toast } from "../shared/toast.js";

const SPOKEN_CHARACTERS = 200;
const SETTLE_MS = 400;
const UNTOLD_MS = 10_000;

class Chat {
  #drafts;
  #outgoing;
  #conversation;
  #composer;
  #threads = new ThreadList((threadId) => this.#outgoing.stuckIn(threadId));
  #bar = new ThreadBar({
    changed: (thread) => this.#threads.changed(thread),
    deleted: (threadId) => this.#leave(threadId),
  });
  #held = [];
  #timer = null;

  constructor(facts) {
    this.#drafts = new Drafts(facts.user_id);
    this.#outgoing = new Outgoing(facts.user_id, (threadId) => this.#unsentChanged(threadId), (done) => this.#sent(done));
    this.#conversation = new Conversation(this.#outgoing, this.#drafts);
    this.#composer = new Composer(this.#drafts, (threadId, text) => {
      this.#outgoing.send(threadId, text);
      this.#conversation.toEnd().catch(() => {});
    });
    new Search((threadId) => this.#threads.get(threadId));
    byId("new-thread").addEventListener("click", () => this.#newThread());
    byId("to-threads").addEventListener("click", () => (location.hash = ""));
    addEventListener("hashchange", () => this.#turn());
    this.#listen(new LiveSocket(facts.ws_url));
    this.#threads.load();
    this.#turn();
    this.#outgoing.resume();
  }

  #listen(socket) {
    socket
      .on("message_received", ({ message }) => this.#received(message))
      .on("message_updated", ({ message }) => {
        if (this.#conversation.updated(message)) this.#say(message);
        this.#threads.refreshSoon();
      })
      .on("message_deleted", (frame) => {
        this.#conversation.deleted(frame);
        this.#recount();
        this.#threads.refreshSoon();
      })
      .on("message_persisted", (frame) => this.#conversation.persisted(frame))
      .on("message_chunk", (frame) => this.#conversation.chunk(frame))
      .on("thread_updated", ({ thread }) => this.#threadUpdated(thread))
      .on("reset", () => this.#readAnew())
      .on("state", (state) => state === "live" && this.#outgoing.nudge());
    // Without a socket the page polls.
    setInterval(() => document.hidden || socket.state === "live" || this.#readAnew(), UNTOLD_MS);
    showConnection(socket);
    socket.open();
  }

  #readAnew() {
    this.#threads.load();
    this.#conversation.refresh().catch(() => {});
  }

  // A message whose acknowledgement is still on its way would appear twice.
  #received(message) {
    if (this.#outgoing.expects(message)) {
      this.#held.push(message);
      return;
    }
    const isOpen = message.thread_id === this.#conversation.threadId;
    this.#conversation.heard(message);
    this.#threads.heard(message);
    if (isOpen) {
      this.#say(message);
      this.#recount();
    }
  }

  // Announces new messages of the open thread to screen readers; a streamed answer when it is finished.
  #say({ role, content }) {
    if (content) byId("heard").textContent = `${nameOf(role)}: ${content.slice(0, SPOKEN_CHARACTERS)}`;
  }

  #sent(done) {
    this.#conversation.heard(done);
    this.#threads.heard(done);
    this.#recount();
  }

  #unsentChanged(threadId) {
    const held = this.#held;
    this.#held = [];
    for (const message of held) this.#received(message);
    if (threadId === this.#conversation.threadId) this.#conversation.unsentChanged();
    this.#threads.unsentChanged();
  }

  #threadUpdated(thread) {
    this.#threads.changed(thread);
    if (thread.id !== this.#conversation.threadId) return;
    if (!thread.deleted_at) this.#recount();
    else if (!this.#bar.isDeleting(thread.id)) this.#gone(thread.id, "This thread was deleted.");
  }

  // A thread was deleted. Unsent messages for it are kept.
  #gone(threadId, why) {
    if (this.#drafts.of(threadId) || this.#outgoing.of(threadId).length) {
      this.#conversation.emptied(`${why} What you send begins it anew.`);
      return;
    }
    toast(why);
    location.hash = "";
  }

  // It was just deleted on this page.
  #leave(threadId) {
    this.#drafts.put(threadId, "");
    this.#outgoing.discardAll(threadId);
    location.hash = "";
    this.#threads.load();
  }

  // Reads the open thread's figures and marks again, a moment after the last change.
  #recount() {
    this.#timer ??= setTimeout(async () => {
      this.#timer = null;
      const id = this.#conversation.threadId;
      if (id === null) return;
      const thread = await get(path`/api/threads/${id}`).catch(() => null);
      if (thread && id === this.#conversation.threadId) this.#bar.show(thread);
    }, SETTLE_MS);
  }

  async #turn() {
    const place = addressed(location.hash);
    if (place === null) {
      toast("There is nothing at this address.", { isTrouble: true });
      location.replace("#/");
      return;
    }
    const { threadId, messageId } = place;
    const isOpen = threadId !== null;
    const hadFocus = document.activeElement;
    byId("page").dataset.view = isOpen ? "conversation" : "threads";
    byId("conversation").hidden = !isOpen;
    byId("nothing-open").hidden = isOpen;
    this.#threads.turnTo(threadId);
    // Moves the focus out of a part that is hidden now.
    if (hadFocus !== document.body && !hadFocus.checkVisibility()) {
      if (isOpen) byId("to-threads").focus();
      else this.#threads.focusCurrent();
    }
    if (!isOpen) {
      this.#conversation.close();
      document.title = "Threadkeep";
      return;
    }
    this.#composer.turnTo(threadId);
    await this.#open(threadId, messageId);
  }

  async #open(threadId, messageId) {
    try {
      const [thread] = await Promise.all([
        get(path`/api/threads/${threadId}`),
        this.#conversation.open(threadId, messageId),
      ]);
      if (threadId !== this.#conversation.threadId) return;
      document.title = `${titleOf(thread)} · Threadkeep`;
      this.#bar.show(thread);
      if (!messageId && matchMedia("(hover: hover)").matches) this.#composer.focus();
    } catch (error) {
      if (threadId !== this.#conversation.threadId) return;
      const isNowhere = error.status === 404 || error.status === 422;
      if (isNowhere && messageId) {
        toast("This message does not exist.");
        location.replace(hrefOf(threadId));
      } else if (isNowhere) this.#gone(threadId, "This thread does not exist.");
      else this.#conversation.cannotBeRead(error.message, () => this.#open(threadId, messageId));
    }
  }

  async #newThread() {
    const ask = { title: "New thread", label: "Title", placeholder: "What is it about?", action: "Begin" };
    const title = await lineFor(ask);
    if (title === null) return;
    await attempted("The thread was not created", async () => {
      const thread = await call("POST", "/api/threads", title ? { title } : {});
      location.hash = hrefOf(thread.id);
      this.#threads.load();
    });
  }
}

start((facts) => new Chat(facts));
