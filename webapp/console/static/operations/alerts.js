// Alerts: firing ones, who acknowledged them, and resolved ones.

import { call, get, path } from "../shared/api.js";
import { actionButton, arrange, byId, el } from "../shared/dom.js";
import { poll, shown } from "../shared/poll.js";
import { attempted } from "../shared/toast.js";
import { clock, fullTime, span } from "../shared/words.js";

const EVERY_MS = 2_000;
const HISTORY_EVERY_MS = 15_000;
const SILENT_SECONDS = 3_600;
const SHOWN_HISTORY = 8;
const ALERTS = "/api/admin/performance-alerts";

export class Alerts {
  #list = byId("alerts");
  #history = byId("alert-history");
  #rows = new Map();
  #ask;

  constructor() {
    this.#ask = poll(EVERY_MS, () =>
      shown(byId("alerts-note"), () => get(ALERTS), (found) => this.#show(found)),
    );
    // The history is read from PostgreSQL; firing alerts are shown without it.
    poll(HISTORY_EVERY_MS, async () => {
      const found = await get(`${ALERTS}?history=true`).catch(() => null);
      if (found) this.#showHistory(found.history);
    });
  }

  #show({ active_alerts: active }) {
    byId("no-alerts").hidden = active.length > 0;
    this.#say(active);
    arrange(this.#list, active.map((alert) => this.#row(alert)));
    for (const id of this.#rows.keys()) if (!active.some((alert) => alert.id === id)) this.#rows.delete(id);
  }

  // New and resolved alerts are announced once; the figures of an alert change all the time.
  #say(active) {
    const fresh = active
      .filter(({ id }) => !this.#rows.has(id))
      .map(({ type, detail }) => `${named(type)}: ${detail}.`);
    const isLess = this.#rows.size > active.length;
    if (fresh.length) byId("alerts-said").textContent = `New alert. ${fresh.join(" ")}`;
    else if (isLess) byId("alerts-said").textContent = active.length ? "An alert is resolved." : "All alerts are resolved.";
  }

  #showHistory(history) {
    const over = history.filter((alert) => alert.until).slice(0, SHOWN_HISTORY);
    byId("alert-history-box").hidden = !over.length;
    arrange(this.#history, over.map(past));
  }

  // The row of an alert and its buttons stay while it fires: only their text changes.
  #row(alert) {
    let row = this.#rows.get(alert.id);
    if (!row) {
      row = this.#made(alert);
      this.#rows.set(alert.id, row);
    }
    row.show(alert);
    return row.element;
  }

  #made({ id, type, priority, since }) {
    const [detail, notes, buttons] = [el("p"), el("p", { class: "soft", title: fullTime(since) }), el("div", { class: "buttons" })];
    const tell = (what, body) => () => this.#tell(id, what, body);
    const button = (label, act) => actionButton(label, act, { "aria-label": `${label}: ${named(type)}` });
    const acknowledge = button("Acknowledge", tell("acknowledge"));
    const silence = button("Mute for an hour", tell("silence", { seconds: SILENT_SECONDS }));
    const speak = button("Unmute", tell("silence", { seconds: 0 }));
    const element = el(
      "li",
      { class: "alert", "data-type": type, "data-priority": priority },
      el("h3", {}, el("span", { class: "priority" }, priority), named(type)),
      detail,
      notes,
      buttons,
    );
    const show = (alert) => {
      const isSilent = Boolean(alert.silenced_until) && Date.parse(alert.silenced_until) > Date.now();
      detail.textContent = alert.detail;
      notes.textContent = noted(alert, isSilent);
      arrange(buttons, [...(alert.acknowledged_by ? [] : [acknowledge]), isSilent ? speak : silence]);
    };
    return { element, show };
  }

  async #tell(id, what, body) {
    await attempted("The alert was not changed", () => call("POST", ALERTS + path`/${id}/${what}`, body));
    await this.#ask();
  }
}

const noted = (alert, isSilent) =>
  [
    `since ${clock(alert.since)}`,
    alert.acknowledged_by ? `seen by ${alert.acknowledged_by}` : "",
    isSilent ? `silent until ${clock(alert.silenced_until)}` : "",
  ].filter(Boolean).join(" · ");

function past(alert) {
  const seconds = (Date.parse(alert.until) - Date.parse(alert.since)) / 1000;
  return el("li", {}, el("time", { datetime: alert.since, title: fullTime(alert.since) }, clock(alert.since)),
    el("span", {}, `${named(alert.type)}, for ${span(seconds)}`));
}

// A type in words: `no_progress` is "No progress".
function named(type) {
  const words = type.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}
