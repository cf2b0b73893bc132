// The state of each message: reported by the socket, and polled for visible messages that have not
// reached their last state. A few at a time, at growing intervals, and not while the server is busy.

import { get, path } from "../shared/api.js";
import { rankOf } from "./stitches.js";

const AT_ONCE = 3;
// Messages that are only scrolled past need no receipt.
const SETTLE_MS = 200;
const FIRST_LOOK_MS = 700;
const LONGEST_MS = 60_000;

export class Receipts {
  #known = new Map();
  #visible = new Set();
  // When each is requested next, and the pause after that.
  #due = new Map();
  #asking = new Set();
  #told;
  #observer;
  #timer = null;
  #quietUntil = 0;
  #troubles = 0;

  // `told` is called with the id of a message whose state is news.
  constructor(root, told) {
    this.#told = told;
    this.#observer = new IntersectionObserver((entries) => this.#look(entries), { root, rootMargin: "100px" });
    document.addEventListener("visibilitychange", () => this.#plan());
  }

  // The known state of a version: `{version, state, tier, receipt}`, or undefined.
  of(id, version) {
    const known = this.#known.get(id);
    return known && known.version >= version ? known : undefined;
  }

  // Notes the state of a version. An older version, or an earlier state, changes nothing.
  note(id, version, state, facts = {}) {
    const known = this.#known.get(id);
    const isFarther = known?.version === version && rankOf(known.state) > rankOf(state);
    if (known?.version > version || isFarther) return;
    const before = known?.version === version ? known : {};
    this.#known.set(id, { ...before, ...facts, version, state });
    if (state !== "archived" && this.#visible.has(id)) this.#askIn(id, FIRST_LOOK_MS);
    this.#told(id);
  }

  watch(element, id) {
    element.dataset.receipt = id;
    this.#observer.observe(element);
  }

  forget() {
    this.#observer.disconnect();
    this.#visible.clear();
    this.#due.clear();
  }

  // The current receipt. Throws what `get` throws.
  async fetch(id) {
    const receipt = await get(path`/api/messages/${id}/receipt`);
    this.note(id, receipt.version, receipt.state, { receipt });
    return receipt;
  }

  #look(entries) {
    for (const { target, isIntersecting } of entries) {
      const id = target.dataset.receipt;
      const known = this.#known.get(id);
      if (!isIntersecting) {
        this.#visible.delete(id);
        this.#due.delete(id);
      } else if (!this.#visible.has(id)) {
        this.#visible.add(id);
        if (known?.state !== "archived" || !known.receipt) this.#askIn(id, SETTLE_MS);
      }
    }
    this.#plan();
  }

  #askIn(id, soon) {
    this.#due.set(id, { at: Date.now() + soon, wait: FIRST_LOOK_MS });
    this.#plan();
  }

  #plan() {
    clearTimeout(this.#timer);
    const free = [...this.#due].filter(([id]) => !this.#asking.has(id));
    if (!free.length || this.#asking.size >= AT_ONCE || document.hidden) return;
    const next = Math.max(this.#quietUntil, Math.min(...free.map(([, { at }]) => at)));
    this.#timer = setTimeout(() => this.#next(), Math.max(0, next - Date.now()));
  }

  #next() {
    const late = [...this.#due].filter(([id, { at }]) => at <= Date.now() && !this.#asking.has(id));
    late.sort(([, a], [, b]) => a.at - b.at);
    for (const [id, place] of late.slice(0, AT_ONCE - this.#asking.size)) this.#turn(id, place);
    this.#plan();
  }

  // Requests one receipt; again later, unless the message has reached its last state.
  async #turn(id, { wait }) {
    this.#asking.add(id);
    this.#due.set(id, { at: Date.now() + wait, wait: Math.min(LONGEST_MS, wait * 1.7) });
    try {
      const receipt = await this.fetch(id);
      this.#troubles = 0;
      if (receipt.state === "archived") this.#due.delete(id);
    } catch (error) {
      if (error.status === 404) this.#due.delete(id);
      else this.#pause(error);
    } finally {
      this.#asking.delete(id);
      this.#plan();
    }
  }

  // Pauses all requests for a while, longer each time.
  #pause({ retryAfterMs }) {
    const wait = Math.min(LONGEST_MS, 1_000 * 2 ** this.#troubles);
    this.#troubles += 1;
    this.#quietUntil = Date.now() + (retryAfterMs ?? wait);
  }
}
