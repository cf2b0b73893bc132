// Dead letters: writes that PostgreSQL refused, with replay and discard.

import { call, get, path, query } from "../shared/api.js";
import { actionButton, arrange, byId, el } from "../shared/dom.js";
import { confirmed } from "../shared/dialogs.js";
import { poll, shown } from "../shared/poll.js";
import { attempted, toast } from "../shared/toast.js";
import { fullTime, plural } from "../shared/words.js";

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
    for (const id of this.#rows.keys()) if (!letters.some((letter) => letter.id === id)) this.#rows.delete(id);
  }

  // The row of a letter stays while it is listed: only its text changes.
  #row(letter) {
    let row = this.#rows.get(letter.id);
    if (!row) {
      row = this.#made(letter);
      this.#rows.set(letter.id, row);
    }
    row.reason.textContent = letter.reason;
    row.notes.textContent = noted(letter);
    return row.element;
  }

  #made(letter) {
    const [reason, notes] = [el("p"), el("p", { class: "soft" })];
    const name = `${letter.kind} ${letter.id}`;
    const element = el(
      "li",
      { class: "letter" },
      el("h3", {}, name),
      reason,
      notes,
      el("div", { class: "buttons" },
        actionButton("Replay", () => this.#replay(letter), { "aria-label": `Replay ${name}` }),
        actionButton("Discard", () => this.#discard(letter), { "aria-label": `Discard ${name}` })),
    );
    return { element, reason, notes };
  }

  async #replay({ id }) {
    const done = await attempted("It stays a dead letter", () => call("POST", LETTERS + path`/${id}/replay`));
    if (done) toast("PostgreSQL has taken it.");
    await this.#ask();
  }

  async #discard({ id }) {
    const text = "It was acknowledged, and no other copy exists. Its writer will not find it again.";
    if (!(await confirmed({ title: "Discard this write?", text, action: "Discard it" }))) return;
    await attempted("It was not discarded", () => call("DELETE", LETTERS + path`/${id}`));
    await this.#ask();
  }
}

const noted = ({ user_id: user, thread_id: thread, refused_at: at, attempts }) =>
  `${user ?? "an unknown user"}, ${thread ?? "an unknown thread"} · ${fullTime(at)} · ${plural(attempts, "attempt")}`;
