// The chat page: its parts, put together, and the address that says what is open.

import { call, get, path } from "./api.js";
import { Composer } from "./composer.js";
import { showConnection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { lineFor } from "./dialogs.js";
import { byId } from "./dom.js";
import { nameOf } from "./message-view.js";
import { Outgoing } from "./outgoing.js";
import { Search } from "./search.js";
import { LiveSocket } from "./socket.js";
import { start } from "./start.js";
import { ThreadBar } from "./thread-bar.js";
import { ThreadList, hrefOf, titleOf } from "./thread-list.js";
import { attempted } from "./toast.js";

const SPOKEN_CHARACTERS = 200;

class Chat {
  #threads = new ThreadList();
  #composer = new Composer((threadId, text) => {
    this.#outgoing.send(threadId, text);
    this.#conversation.toEnd().catch(() => {});
  });
  #outgoing;
  #conversation;
  #bar = new ThreadBar({
    changed: () => this.#threads.load(),
    deleted: () => {
      location.hash = "";
      this.#threads.load();
    },
  });
  #held = [];

  constructor(facts) {
    this.#outgoing = new Outgoing(facts.user_id, (threadId) => this.#unsentChanged(threadId), (done) => this.#sent(done));
    this.#conversation = new Conversation(this.#outgoing);
    new Search((threadId) => titleOf(this.#threads.get(threadId) ?? { id: threadId }));
    byId("new-thread").addEventListener("click", () => this.#newThread());
    byId("to-threads").addEventListener("click", () => (location.hash = ""));
    addEventListener("hashchange", () => this.#turn());
    this.#listen(new LiveSocket(facts.ws_url));
    this.#threads.load();
    this.#turn();
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
        this.#threads.refreshSoon();
      })
      .on("message_persisted", (frame) => this.#conversation.persisted(frame))
      .on("message_chunk", (frame) => this.#conversation.chunk(frame))
      .on("thread_updated", ({ thread }) => this.#threadUpdated(thread))
      .on("reset", () => this.#readAnew());
    let wasLive = false;
    socket.on("state", (state) => {
      // What happened before anybody listened is not told, so it is read.
      if (state === "live" && !wasLive) this.#readAnew();
      wasLive ||= state === "live";
    });
    showConnection(socket);
    socket.open();
  }

  #readAnew() {
    this.#threads.load();
    this.#conversation.refresh().catch(() => {});
  }

  // A message whose acknowledgement is still on its way would be seen twice.
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

  // What is new in the open thread, for those who hear it; an answer when all of it is there.
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
    if (threadId === this.#conversation?.threadId) this.#conversation.unsentChanged();
  }

  #threadUpdated(thread) {
    if (thread.id === this.#conversation.threadId) {
      if (thread.deleted_at) location.hash = "";
      else this.#recount();
    }
    this.#threads.refreshSoon();
  }

  // The open thread's own figures and marks, once what is happening to it has settled.
  #recount() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const id = this.#conversation.threadId;
      if (id === null) return;
      const thread = await get(path`/api/threads/${id}`).catch(() => null);
      if (thread && id === this.#conversation.threadId) this.#bar.show(thread);
    }, 400);
  }

  #timer = null;

  async #turn() {
    const [threadId = "", messageId = null] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    const isOpen = threadId !== "";
    byId("page").dataset.view = isOpen ? "conversation" : "threads";
    byId("conversation").hidden = !isOpen;
    byId("nothing-open").hidden = isOpen;
    this.#threads.turnTo(threadId || null);
    if (!isOpen) {
      document.title = "Threadkeep";
      return;
    }
    this.#composer.turnTo(threadId);
    await attempted("The thread cannot be shown", () => this.#open(threadId, messageId));
  }

  async #open(threadId, messageId) {
    const [thread] = await Promise.all([
      get(path`/api/threads/${threadId}`).catch((error) => {
        if (error.status === 404) location.hash = "";
        throw error;
      }),
      this.#conversation.open(threadId, messageId),
    ]);
    if (threadId !== this.#conversation.threadId) return;
    document.title = `${titleOf(thread)} · Threadkeep`;
    this.#bar.show(thread);
    if (!messageId && matchMedia("(hover: hover)").matches) this.#composer.focus();
  }

  async #newThread() {
    const ask = { title: "New thread", label: "Title", placeholder: "What is it about?", action: "Begin" };
    const title = await lineFor(ask);
    if (title === null) return;
    await attempted("The thread was not begun", async () => {
      const thread = await call("POST", "/api/threads", title ? { title } : {});
      location.hash = hrefOf(thread.id);
      this.#threads.load();
    });
  }
}

start((facts) => new Chat(facts));
