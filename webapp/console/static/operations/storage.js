// Rows and size of each tier.

import { get } from "../shared/api.js";
import { arrange, byId, el } from "../shared/dom.js";
import { poll, shown } from "../shared/poll.js";
import { TIERS, bytes, plural } from "../shared/words.js";

const EVERY_MS = 30_000;

export class Storage {
  constructor() {
    poll(EVERY_MS, () =>
      shown(byId("storage-note"), () => get("/api/analytics/summary"), (summary) => this.#show(summary)),
    );
  }

  #show({ everyone }) {
    if (!everyone) return;
    const { tiers = {}, messages, threads, active_users: users } = everyone;
    const most = Math.max(1, ...Object.values(tiers).map((tier) => tier?.bytes ?? 0));
    const said = [
      messages === undefined ? "" : plural(messages, "message"),
      threads === undefined ? "" : `in ${plural(threads, "thread")}`,
      users === undefined ? "" : `of ${plural(users, "active user")}`,
    ];
    arrange(byId("storage"), [
      el("p", {}, said.filter(Boolean).join(" ")),
      el("ul", { class: "bars" }, ...Object.keys(TIERS).map((name) => (tiers[name] ? bar(name, tiers[name], most) : unknown(name)))),
    ]);
  }
}

// A tier that did not answer.
const unknown = (name) => el("li", {}, el("h3", {}, TIERS[name], el("span", { class: "soft" }, "not known now")));

const cost = (amount) => (amount < 0.01 ? "less than 0.01" : amount.toFixed(2));

function bar(name, tier, most) {
  const notes = [
    tier.messages === undefined || tier.messages === null ? "" : plural(tier.messages, "message"),
    tier.compression ? `compressed ${tier.compression} to 1` : "",
    tier.cost_per_month ? `costs ${cost(tier.cost_per_month)} a month` : "",
  ];
  return el("li", {},
    el("h3", {}, TIERS[name], el("span", {}, bytes(tier.bytes))),
    el("meter", { min: 0, max: most, value: tier.bytes ?? 0, "aria-label": `${TIERS[name]}: ${bytes(tier.bytes)}` }),
    el("p", { class: "soft" }, notes.filter(Boolean).join(" · ")));
}
