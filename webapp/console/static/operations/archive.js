// The archive: which old partitions have left PostgreSQL, and which are being archived.

import { get } from "../shared/api.js";
import { arrange, byId, el } from "../shared/dom.js";
import { poll, shown } from "../shared/poll.js";
import { bytes, dayOf, plural } from "../shared/words.js";

const EVERY_MS = 5_000;
const STATES = {
  planned: "Planned",
  proven: "Proven",
  detached: "In grace",
  dropped: "Dropped",
  stopped: "Stopped",
};

export class Archive {
  constructor() {
    poll(EVERY_MS, () => shown(byId("archive-note"), () => get("/api/admin/archive"), (archive) => this.#show(archive)));
  }

  #show({ archived_before: before, running, percent, remaining, units, stopped }) {
    const known = Object.keys(STATES).filter((state) => units[state]);
    arrange(byId("archive"), [
      ...(percent === null ? [el("p", {}, "No partition is old enough to be archived yet.")] : progress(percent, remaining)),
      running ? el("p", { class: "at-work" }, "An archiver is running.") : null,
      before ? el("p", { class: "soft" }, `Messages before ${dayOf(before)} may be in ClickHouse alone.`) : null,
      known.length ? el("dl", { class: "facts" }, ...known.flatMap((state) => fact(state, units[state]))) : null,
      ...stopped.map(({ name, reason }) => el("p", { class: "trouble" }, `${name} is stopped: ${reason}`)),
    ].filter(Boolean));
  }
}

function progress(percent, { partitions, bytes: size }) {
  const rest = partitions
    ? `${plural(partitions, "eligible partition")} (${bytes(size)}) ${partitions === 1 ? "is" : "are"} not archived yet.`
    : "All eligible partitions are archived.";
  const words = `${percent} % has left PostgreSQL. ${rest}`;
  return [
    el("p", { class: "big" }, `${percent} %`, el("span", { class: "soft" }, " has left PostgreSQL")),
    el("progress", { max: 100, value: percent, "aria-label": words }),
    el("p", {}, rest),
  ];
}

function fact(state, { partitions, messages, bytes: size }) {
  const what = [plural(partitions, "partition"), plural(messages, "message"), size ? bytes(size) : ""];
  return [el("dt", {}, STATES[state]), el("dd", {}, what.filter(Boolean).join(", "))];
}
