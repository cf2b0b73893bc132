// Drills: simulated outages and slowness of tiers, where they are allowed.

import { call } from "../shared/api.js";
import { actionButton, byId, el } from "../shared/dom.js";
import { attempted } from "../shared/toast.js";
import { clockWithSeconds } from "../shared/words.js";

const SILENT = {
  redis_unavailable: "Redis is down",
  postgresql_unavailable: "PostgreSQL is down",
  clickhouse_unavailable: "ClickHouse is down",
  redis_and_postgresql_unavailable: "Redis and PostgreSQL are down",
  all_unavailable: "Everything is down",
};
const SLOW = {
  redis_slow: "Redis is slow",
  postgresql_slow: "PostgreSQL is slow",
  clickhouse_slow: "ClickHouse is slow",
};
const SECONDS = [10, 30, 60, 300];

export function offerDrills() {
  const scenario = choice("drill-scenario", Object.entries({ ...SILENT, ...SLOW }));
  const seconds = choice("drill-seconds", SECONDS.map((number) => [number, `${number} seconds`]));
  byId("drills").append(
    el("div", {}, el("label", { for: "drill-scenario" }, "What happens"), scenario),
    el("div", {}, el("label", { for: "drill-seconds" }, "For how long"), seconds),
    el("div", { class: "buttons" },
      actionButton("Start the drill", () => begin(scenario.value, Number(seconds.value))),
      actionButton("End it", () => begin("none", 1))),
  );
  byId("drills-box").hidden = false;
}

// There is one drill at a time, and `none` ends any.
async function begin(scenario, seconds) {
  const kind = scenario in SLOW ? "performance-degradation" : "disaster";
  const done = await attempted("No drill", () =>
    call("POST", `/api/admin/simulate-${kind}`, { scenario, duration_seconds: seconds }));
  if (!done) return;
  const words = { ...SILENT, ...SLOW }[scenario];
  const until = clockWithSeconds(Date.now() + seconds * 1_000);
  say(words ? `${words}, until ${until}.` : "The drill is over.");
  clearTimeout(ending);
  if (words) ending = setTimeout(() => say("The drill is over."), seconds * 1_000);
}

let ending = null;

const say = (text) => (byId("drills-note").textContent = text);

function choice(id, options) {
  return el("select", { id }, ...options.map(([value, name]) => el("option", { value }, name)));
}
