// The archive: how far back PostgreSQL reaches, and what is on its way out of it.

import { get } from "./api.js";
import { arrange, byId, el } from "./dom.js";
import { poll, shown } from "./poll.js";
import { bytes, count, fullTime, plural } from "./words.js";

const EVERY_MS = 10_000;
const STATES = {
  planned: "planned",
  proven: "proven to be in ClickHouse",
  detached: "taken out, kept until the grace is over",
  dropped: "dropped",
  stopped: "stopped",
};

export class Archive {
  constructor() {
    poll(EVERY_MS, () => shown(byId("archive-note"), () => get("/api/admin/archive"), (archive) => this.#show(archive)));
  }

  #show({ archived_before: before, units, stopped }) {
    const known = Object.keys(STATES).filter((state) => units[state]);
    arrange(byId("archive"), [
      el("p", {}, before ? `ClickHouse alone may have what is older than ${fullTime(before)}.` : "Nothing is archived yet."),
      known.length
        ? el("dl", { class: "facts" }, ...known.flatMap((state) => [
            el("dt", {}, STATES[state]),
            el("dd", {}, words(units[state])),
          ]))
        : null,
      ...stopped.map(({ name, reason }) => el("p", { class: "trouble" }, `${name} is stopped: ${reason}`)),
    ].filter(Boolean));
  }
}

function words({ partitions, messages, bytes: size }) {
  const held = size ? `, ${bytes(size)}` : "";
  return `${plural(partitions, "partition")}, ${count(messages)} ${messages === 1 ? "message" : "messages"}${held}`;
}
