// One message on the page: who, what, when, how far it is, and what can be done with it.

import { actionButton, arrange, el, icon, iconButton } from "./dom.js";
import { isInterrupted } from "./messages.js";
import { STATE_OF, WORDS, heldBy, stitches } from "./stitches.js";
import { written } from "./text.js";
import { TIERS, clock, fullTime } from "./words.js";

const NAMES = { user: "You", assistant: "Assistant", agent: "Agent", tool: "Tool", system: "System" };

export const nameOf = (role) => NAMES[role] ?? role;

export class MessageView {
  #message;
  #actions;
  #body = el("div", { class: "body" });
  #state = el("button", { type: "button", class: "state" });
  #time = el("time");
  #shown = null;

  // `actions` holds `receipt`, `save` and `remove`, each called with the message.
  constructor(message, actions) {
    this.#actions = actions;
    this.#message = message;
    this.element = el(
      "li",
      { class: `message ${message.role}`, "data-id": message.id, tabindex: "-1" },
      el(
        "article",
        {},
        el("h3", { class: "role" }, nameOf(message.role)),
        this.#body,
        el("footer", {}, this.#time, this.#state, this.#tools()),
      ),
    );
    this.#state.addEventListener("click", () => this.#actions.receipt(this.#message));
    this.element.addEventListener("keydown", (event) => this.#key(event));
  }

  update(message, known) {
    this.#message = message;
    const text = message.streamed?.text ?? message.content;
    if (text !== this.#shown && !this.isEdited) {
      this.#body.replaceChildren(...written(text));
      this.#shown = text;
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

  // Opens the text to be changed; the version it rests on is the one that was shown.
  edit() {
    if (this.#message.streamed) return;
    const message = this.#message;
    const field = el("textarea", { "aria-label": "The message's new text", rows: 3 });
    field.value = message.content;
    const close = () => {
      this.#shown = null;
      field.remove();
      this.update(this.#message, this.#known);
      this.element.focus();
    };
    const save = async () => {
      if (!field.value.trim() || (await this.#actions.save(message, field.value))) close();
    };
    const buttons = [actionButton("Save", save, { class: "primary" }), actionButton("Cancel", close)];
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        save();
      }
    });
    arrange(this.#body, [field, el("div", { class: "buttons" }, ...buttons)]);
    field.style.height = `${field.scrollHeight + 2}px`;
    field.focus();
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

// What is being sent, or could not be.
export function unsentView(entry, { retry, discard }) {
  const failed = entry.state === "failed";
  const footer = failed
    ? [
        el("span", { class: "trouble" }, `Not sent. ${entry.error}`),
        el("button", { type: "button", class: "inline", on: { click: () => retry(entry) } }, icon("retry"), "Try again"),
        el("button", { type: "button", class: "inline", on: { click: () => discard(entry) } }, "Give it up"),
      ]
    : [el("span", {}, "Sending…")];
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
