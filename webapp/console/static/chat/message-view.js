// One message on the page: sender, text, time, state and actions.

import { actionButton, arrange, el, icon, iconButton } from "../shared/dom.js";
import { isInterrupted } from "./messages.js";
import { STATE_OF, WORDS, heldBy, stitches } from "./stitches.js";
import { written } from "./text.js";
import { TIERS, clock, fullTime, plural, sentence } from "../shared/words.js";

const NAMES = { user: "You", assistant: "Assistant", agent: "Agent", tool: "Tool", system: "System" };

// Longer messages are folded, so that nobody scrolls past a hundred screens.
const LONG_CHARACTERS = 4_000;
const LONG_LINES = 60;

export const nameOf = (role) => NAMES[role] ?? role;

export class MessageView {
  #message;
  #actions;
  #body = el("div", { class: "body" });
  #state = el("button", { type: "button", class: "state" });
  #time = el("time");
  #fold = el("button", { type: "button", class: "inline fold", hidden: true });
  #drafts;
  #shown = null;

  // `actions` has `receipt`, `save` and `remove`, each called with the message; `drafts` keeps
  // unfinished edits.
  constructor(message, actions, drafts) {
    this.#actions = actions;
    this.#drafts = drafts;
    this.#message = message;
    this.element = el(
      "li",
      { class: `message ${message.role}`, "data-id": message.id, tabindex: "-1" },
      el(
        "article",
        {},
        el("h3", { class: "role" }, nameOf(message.role)),
        this.#body,
        this.#fold,
        el("footer", {}, this.#time, this.#state, this.#tools()),
      ),
    );
    this.#fold.addEventListener("click", () => this.#showAll(this.#fold.getAttribute("aria-expanded") === "false"));
    this.#state.addEventListener("click", () => this.#actions.receipt(this.#message));
    this.element.addEventListener("keydown", (event) => this.#key(event));
  }

  update(message, known) {
    this.#message = message;
    const text = message.streamed?.text ?? message.content;
    if (text !== this.#shown && !this.isEdited) {
      this.#body.replaceChildren(...written(text));
      this.#shown = text;
      this.#foldLong(text);
    }
    const isOpen = message.streamed !== undefined;
    this.element.classList.toggle("streaming", isOpen);
    this.element.setAttribute("aria-busy", String(isOpen));
    const edited = message.version > 1 && message.updated_at !== message.created_at;
    this.#time.dateTime = message.created_at;
    this.#time.title = fullTime(message.created_at) + (edited ? `, changed ${fullTime(message.updated_at)}` : "");
    const note = isInterrupted(message) ? " · interrupted" : edited ? ` · version ${message.version}` : "";
    this.#time.textContent = clock(message.created_at) + note;
    this.#showState(known, isOpen);
  }

  get isEdited() {
    return this.#body.querySelector("textarea") !== null;
  }

  // Opens the text for editing; saving expects the version that was shown. If it was changed
  // meanwhile, saving again overwrites that knowingly.
  edit() {
    if (this.#message.streamed || this.isEdited) return;
    let basis = this.#message;
    const draft = `edit/${basis.id}`;
    const field = el("textarea", { "aria-label": "The message's new text", rows: 3, dir: "auto" });
    field.value = this.#drafts.of(draft) || basis.content;
    const close = () => {
      this.#drafts.put(draft, "");
      this.#shown = null;
      field.remove();
      this.update(this.#message, this.#known);
      this.element.focus();
    };
    const save = async () => {
      if (!field.value.trim() || (await this.#actions.save(basis, field.value))) close();
      else basis = this.#message;
    };
    const buttons = [actionButton("Save", save, { class: "primary" }), actionButton("Cancel", close)];
    field.addEventListener("input", () => this.#drafts.put(draft, field.value));
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        save();
      }
    });
    this.#foldLong("");
    arrange(this.#body, [field, el("div", { class: "buttons" }, ...buttons)]);
    field.style.height = `${field.scrollHeight + 2}px`;
    field.focus();
  }

  #foldLong(text) {
    const isLong = text.length > LONG_CHARACTERS || text.split("\n", LONG_LINES + 1).length > LONG_LINES;
    this.#fold.hidden = !isLong || this.#message.streamed !== undefined;
    this.#showAll(this.#fold.hidden || this.#fold.getAttribute("aria-expanded") === "true");
  }

  #showAll(isAll) {
    this.#body.classList.toggle("folded", !isAll);
    this.#fold.setAttribute("aria-expanded", String(isAll && !this.#fold.hidden));
    const words = `Show all, ${plural(this.#message.content.length, "character")}`;
    this.#fold.textContent = isAll ? "Show less" : words;
  }

  #known = undefined;

  #showState(known, isOpen) {
    this.#known = known;
    const state = known?.state;
    const isNew = state && !known.receipt && STATE_OF[known.tier] === state;
    const tier = state === "acknowledged" && known.tier || isNew ? ` · ${TIERS[known.tier]}` : "";
    const words = isOpen ? "Being written" : state ? WORDS[state] + tier : "Asking…";
    const holds = known?.receipt?.version === known?.version && known?.receipt ? heldBy(known.receipt) : null;
    const sign = `${words} ${JSON.stringify(holds)}`;
    if (this.#state.dataset.sign === sign) return;
    this.#state.dataset.sign = sign;
    this.#state.dataset.state = state ?? "";
    this.#state.setAttribute("aria-label", `${words}. Show the receipt`);
    this.#state.replaceChildren(stitches(state, holds, isNew ? known.tier : null), words);
  }

  #tools() {
    return el(
      "span",
      { class: "tools" },
      iconButton("edit", "Edit", () => this.edit()),
      iconButton("trash", "Delete", () => this.#actions.remove(this.#message)),
    );
  }

  #key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      Enter: () => this.#actions.receipt(this.#message),
      e: () => this.edit(),
      Delete: () => this.#actions.remove(this.#message),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

// An unsent message: being sent, waiting for a retry, or failed.
export function unsentView(entry, { retry, discard }) {
  const isFailed = entry.state === "failed";
  const why = sentence(entry.error);
  const begun = why.charAt(0).toUpperCase() + why.slice(1);
  const words = isFailed ? `Not sent: ${why}` : `Not sent yet, retrying. ${begun}`;
  const footer = !isFailed && entry.state !== "waiting"
    ? [el("span", {}, "Sending…")]
    : [
        el("span", { class: isFailed ? "trouble" : "pending" }, words),
        el("button", { type: "button", class: "inline", on: { click: () => retry(entry) } }, icon("retry"), "Try now"),
        el("button", { type: "button", class: "inline", on: { click: () => discard(entry) } }, "Discard"),
      ];
  return el(
    "li",
    { class: `message user unsent ${entry.state}`, "data-key": entry.key },
    el(
      "article",
      {},
      el("h3", { class: "role" }, nameOf("user")),
      el("div", { class: "body" }, ...written(entry.text)),
      el("footer", {}, ...footer),
    ),
  );
}
