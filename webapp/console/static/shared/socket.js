// The WebSocket: reconnects by itself and resumes (docs/realtime.md).

import { end, token } from "./session.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 20_000;
const PING_MS = 20_000;
const SILENT_MS = 10_000;
const OFFLINE_SILENT_MS = 2_000;
const BAD_TOKEN = 4401;
const TOO_MANY = 1013;

// States: `connecting`, `live`, `waiting` (with `until`, in milliseconds since 1970), `off`.
export class LiveSocket {
  #url;
  #socket = null;
  #lastEventId = null;
  #attempts = 0;
  #timer = null;
  #heartbeat = null;
  #listeners = new Map();
  state = "off";
  until = 0;

  constructor(url) {
    this.#url = url;
    addEventListener("online", () => this.#tryNow());
    addEventListener("offline", () => this.#ping(OFFLINE_SILENT_MS));
    document.addEventListener("visibilitychange", () => document.hidden || this.#tryNow());
  }

  // Listens for frames of a type, or for `state`.
  on(type, listener) {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
    return this;
  }

  open() {
    if (!this.#url) return;
    this.#become("connecting");
    const socket = new WebSocket(this.#url, ["bearer", token()]);
    this.#socket = socket;
    const from = this.#lastEventId === null ? {} : { last_event_id: this.#lastEventId };
    this.#goesOn = this.#lastEventId !== null;
    socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", ...from }));
    socket.onmessage = (message) => this.#hear(JSON.parse(message.data));
    socket.onclose = (close) => socket === this.#socket && this.#lost(close);
  }

  #hear(frame) {
    if (frame.event_id) this.#lastEventId = frame.event_id;
    if (frame.type === "subscribed") {
      this.#attempts = 0;
      this.#become("live");
      this.#listen();
      // Events before the first listener are not delivered.
      if (!this.#goesOn) this.#tell("reset", frame);
    }
    this.#heard = Date.now();
    this.#tell(frame.type, frame);
  }

  #heard = 0;
  #goesOn = false;

  // A dead connection is detected by a missing pong.
  #listen() {
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => this.#ping(SILENT_MS), PING_MS);
  }

  #ping(patience) {
    if (this.state !== "live") return;
    this.#socket.send('{"type":"ping"}');
    const asked = Date.now();
    setTimeout(() => {
      if (this.state === "live" && this.#heard < asked) this.#abandon();
    }, patience);
  }

  #abandon() {
    const socket = this.#socket;
    this.#lost({ code: 1006, reason: "" });
    socket.close();
  }

  #lost({ code, reason }) {
    clearInterval(this.#heartbeat);
    this.#socket = null;
    if (code === BAD_TOKEN) {
      const has = reason.includes("expired") ? "has expired" : "is not valid any more";
      end(`Your token ${has}. Please sign in again.`);
      return;
    }
    const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempts);
    // With a random delay, so that not all clients reconnect to a restarted server at once.
    const wait = code === TOO_MANY ? LONGEST_WAIT_MS : most * (0.5 + Math.random() / 2);
    this.#attempts += 1;
    this.until = Date.now() + wait;
    this.#timer = setTimeout(() => this.open(), wait);
    this.#become("waiting");
  }

  #tryNow() {
    if (this.state !== "waiting") return;
    clearTimeout(this.#timer);
    this.open();
  }

  #become(state) {
    this.state = state;
    this.#tell("state", state);
  }

  #tell(type, value) {
    for (const listener of this.#listeners.get(type) ?? []) listener(value);
  }
}
