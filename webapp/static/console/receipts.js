// How far each message is: told by the socket, and asked for those that can be seen, one at a time.

import { get, path } from "./api.js";
import { rankOf } from "./stitches.js";

const PAUSE_MS = 150;
const FIRST_LOOK_MS = 700;
const LONGEST_MS = 30_000;

export class Receipts {
  #known = new Map();
  #seen = new Map();
  #told;
  #observer;
  #timer = null;
  #isAsking = false;

  // `told` is called with the id of a message of which something new is known.
  constructor(root, told) {
    this.#told = told;
    this.#observer = new IntersectionObserver((entries) => this.#look(entries), { root, rootMargin: "100px" });
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
    if (state !== "archived") this.#ask(id, FIRST_LOOK_MS);
    this.#told(id);
  }

  watch(element, id) {
    element.dataset.receipt = id;
    this.#observer.observe(element);
  }

  forget() {
    this.#observer.disconnect();
    this.#seen.clear();
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
      if (!isIntersecting) this.#seen.delete(id);
      else if (this.#known.get(id)?.state !== "archived" || !this.#known.get(id)?.receipt) {
        this.#seen.set(id, { due: Date.now() + PAUSE_MS, wait: FIRST_LOOK_MS });
      }
    }
    this.#plan();
  }

  #ask(id, soon) {
    const place = this.#seen.get(id);
    if (place) this.#seen.set(id, { due: Date.now() + soon, wait: FIRST_LOOK_MS });
    this.#plan();
  }

  #plan() {
    if (this.#isAsking || !this.#seen.size) return;
    clearTimeout(this.#timer);
    const next = Math.min(...[...this.#seen.values()].map(({ due }) => due));
    this.#timer = setTimeout(() => this.#next(), Math.max(PAUSE_MS, next - Date.now()));
  }

  async #next() {
    const due = [...this.#seen].filter(([, place]) => place.due <= Date.now());
    const [id, place] = due.sort(([, a], [, b]) => a.due - b.due)[0] ?? [];
    this.#isAsking = true;
    if (id !== undefined && !document.hidden) await this.#turn(id, place);
    this.#isAsking = false;
    this.#plan();
  }

  // One message is asked about; it is left alone when it is as far as it gets, else later again.
  async #turn(id, place) {
    const later = { due: Date.now() + place.wait, wait: Math.min(LONGEST_MS, place.wait * 1.7) };
    this.#seen.set(id, later);
    try {
      const receipt = await this.fetch(id);
      if (receipt.state === "archived") this.#seen.delete(id);
    } catch (error) {
      if (error.status === 404) this.#seen.delete(id);
    }
  }
}
