// Dead letters: what PostgreSQL refused, and what is to become of it.

import { call, get, path, query } from "./api.js";
import { actionButton, arrange, byId, el } from "./dom.js";
import { confirmed } from "./dialogs.js";
import { poll, shown } from "./poll.js";
import { attempted, toast } from "./toast.js";
import { fullTime, plural } from "./words.js";

const EVERY_MS = 10_000;
const PAGE = 20;
const LETTERS = "/api/admin/dead-letters";

export class DeadLetters {
  #rows = new Map();
  #ask;

  constructor() {
    this.#ask = poll(EVERY_MS, () =>
      shown(byId("letters-note"), () => get(LETTERS + query({ limit: PAGE })), (page) => this.#show(page)),
    );
  }

  #show({ dead_letters: letters, next_cursor: more }) {
    byId("no-letters").hidden = letters.length > 0;
    byId("more-letters").hidden = !more;
    arrange(byId("letters"), letters.map((letter) => this.#row(letter)));
  }

  #row(letter) {
    const sign = JSON.stringify(letter);
    const known = this.#rows.get(letter.id);
    if (known?.sign === sign) return known.element;
    const element = el(
      "li",
      { class: "letter" },
      el("h3", {}, `${letter.kind} ${letter.id}`),
      el("p", {}, letter.reason),
      el("p", { class: "soft" },
        `${letter.user_id ?? "an unknown user"}, ${letter.thread_id ?? "an unknown thread"} · ` +
        `${fullTime(letter.refused_at)} · ${plural(letter.attempts, "attempt")}`),
      el("div", { class: "buttons" },
        actionButton("Replay", () => this.#replay(letter)),
        actionButton("Discard", () => this.#discard(letter))),
    );
    this.#rows.set(letter.id, { sign, element });
    return element;
  }

  async #replay({ id }) {
    const done = await attempted("It stays a dead letter", () => call("POST", LETTERS + path`/${id}/replay`));
    if (done) toast("PostgreSQL has taken it.");
    await this.#ask();
  }

  async #discard({ id }) {
    const text = "It was acknowledged, and nobody else has it. Whoever wrote it will not find it again.";
    if (!(await confirmed({ title: "Give this write up?", text, action: "Discard it" }))) return;
    await attempted("It was not discarded", () => call("DELETE", LETTERS + path`/${id}`));
    await this.#ask();
  }
}
