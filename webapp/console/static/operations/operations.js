// The operations page: the pipeline, and everything else for operators.

import { get } from "../shared/api.js";
import { Alerts } from "./alerts.js";
import { Archive } from "./archive.js";
import { Chart } from "./charts.js";
import { Consistency } from "./consistency.js";
import { DeadLetters } from "./dead-letters.js";
import { offerDrills } from "./drills.js";
import { byId } from "../shared/dom.js";
import { poll } from "../shared/poll.js";
import { Road } from "./road.js";
import { start } from "../shared/start.js";
import { Storage } from "./storage.js";
import { TIERS, clockWithSeconds, figure, milliseconds } from "../shared/words.js";

const ROAD_EVERY_MS = 1_500;
const WORDS = {
  ok: "Every message is on its way",
  slow: "Slow",
  degraded: "Degraded",
  unknown: "The server does not answer",
};

class Operations {
  #road = new Road(byId("road"), byId("road-table"));
  #latency = new Chart(byId("latency"), {
    title: "Acknowledgement, in milliseconds",
    lines: [
      { key: "p50_ms", name: "p50", mark: "first" },
      { key: "p95_ms", name: "p95", mark: "second" },
    ],
    format: milliseconds,
  });
  #rate = new Chart(byId("rate"), {
    title: "Messages per second",
    lines: [
      { key: "acknowledged", name: "acknowledged", mark: "first" },
      { key: "failed_over", name: "failed over", mark: "second" },
      { key: "refused", name: "refused", mark: "third" },
    ],
    format: (value) => `${figure(value)} /s`,
  });

  constructor(facts) {
    poll(ROAD_EVERY_MS, () => this.#look());
    new Alerts();
    new Consistency();
    new Archive();
    new Storage();
    new DeadLetters();
    if (facts.drills) offerDrills();
    // Any other value of the environment is no address to link to.
    if (/^https?:\/\//.test(facts.flower_url ?? "")) {
      byId("flower").href = facts.flower_url;
      byId("flower").hidden = false;
    }
    byId("version").textContent = `Threadkeep ${facts.version}`;
  }

  async #look() {
    try {
      const road = await get("/api/admin/road");
      this.#road.show(road);
      this.#latency.show(road.series);
      this.#rate.show(road.series);
      this.#headline(graded(road), reasons(road), road.at);
    } catch (error) {
      byId("road-box").classList.add("old");
      if (error.status === 404) await this.#withoutRoad();
      else this.#headline("unknown", [error.message]);
    }
  }

  // A server without pipeline figures still shows the state of its tiers.
  async #withoutRoad() {
    byId("road-note").textContent = "The pipeline is not available on this server.";
    const health = await get("/health/persistence").catch(() => null);
    if (health) this.#headline(health.status, reasons({ ...health, arrows: [] }));
  }

  #headline(status, why, at = null) {
    const place = byId("headline");
    place.dataset.status = status;
    // An unchanged status is announced once.
    if (byId("status").textContent !== WORDS[status]) byId("status").textContent = WORDS[status];
    const detail = why.join(" ") || "Nothing is slow or stopped.";
    if (byId("status-detail").textContent !== detail) byId("status-detail").textContent = detail;
    if (at !== null) {
      byId("as-of").textContent = `as of ${clockWithSeconds(at * 1000)}`;
      byId("road-box").classList.remove("old");
    }
  }
}

// Slow is less severe than degraded, though the server calls both degraded.
function graded({ status, tiers, arrows, progress }) {
  const isOut = Object.values(tiers).some((tier) => !tier.available) || arrows.some(({ state }) => state === "stopped");
  return status === "degraded" && !isOut && progress.ok ? "slow" : status;
}

function reasons({ tiers, arrows, progress }) {
  const down = Object.keys(tiers).filter((name) => !tiers[name].available);
  // Stages stopped by a tier that is down are not named.
  const bad = arrows.filter(({ state }) => state === "slow" || (state === "stopped" && !down.length));
  return [
    ...down.map((name) => `${TIERS[name]} does not answer.`),
    ...bad.map(({ name, state }) => sentence(`${name.replaceAll("_", " ")} is ${state}`)),
    progress && !progress.ok ? sentence(progress.detail) : "",
  ].filter(Boolean);
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}.`;

start((facts) => {
  byId("for-admins").hidden = facts.is_admin;
  byId("operations").hidden = !facts.is_admin;
  if (facts.is_admin) new Operations(facts);
});
