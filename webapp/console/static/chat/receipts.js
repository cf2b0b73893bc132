// How far each message is: told by the socket, and asked for those that can be seen and are not as
// far as they get. A few at a time, less and less often, and not at all while the server has no time.

import { get, path } from "../shared/api.js";
import { rankOf } from "./stitches.js";

const AT_ONCE = 3;
// Who scrolls past a message does not look at it.
const SETTLE_MS = 200;
const FIRST_LOOK_MS = 700;
const LONGEST_MS = 60_000;

export class Receipts {
  #known = new Map();
  #visible = new Set();
  // When each is asked about next, and how long the wait after that is.
  #due = new Map();
  #asking = new Set();
  #told;
  #observer;
  #timer = null;
  #quietUntil = 0;
  #troubles = 0;

  // `told` is called with the id of a message of which something new is known.
  constructor(root, told) {
    this.#told = told;
    this.#observer = new IntersectionObserver((entries) => this.#look(entries), { root, rootMargin: "100px" });
    document.addEventListener("visibilitychange", () => this.#plan());
  }

  // What is known of a version: `{version, state, tier, receipt}`, or undefined.
  of(id, version) {
    const known = this.#known.get(id);
    return known && known.version >= version ? known : undefined;
  }

  // Something was heard of a version. What is older, or not so far, changes nothing.
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

  // The receipt as it is now. Raises what `get` raises.
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

  // One message is asked about; it is left alone when it is as far as it gets, else later again.
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

  // Nobody is asked about anything for a while, longer each time.
  #pause({ retryAfterMs }) {
    const wait = Math.min(LONGEST_MS, 1_000 * 2 ** this.#troubles);
    this.#troubles += 1;
    this.#quietUntil = Date.now() + (retryAfterMs ?? wait);
  }
}
