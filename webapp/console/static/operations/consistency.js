// The last consistency check, and a button for the next one.

import { call, get } from "../shared/api.js";
import { actionButton, arrange, byId, el } from "../shared/dom.js";
import { confirmed } from "../shared/dialogs.js";
import { poll, shown } from "../shared/poll.js";
import { attempted } from "../shared/toast.js";
import { count, fullTime, plural, span } from "../shared/words.js";

const EVERY_MS = 3_000;
const PAIRS = {
  "postgresql-clickhouse": "PostgreSQL, ClickHouse",
  "redis-postgresql": "Redis, PostgreSQL",
  threads: "Figures of threads",
  queues: "Queues",
};

export class Consistency {
  #ask;

  constructor() {
    byId("consistency-actions").append(
      actionButton("Check now", () => this.#start(false)),
      actionButton("Check and repair", () => this.#repair()),
    );
    this.#ask = poll(EVERY_MS, () => this.#read());
  }

  async #read() {
    const note = byId("consistency-note");
    let isMissing = false;
    const report = () => get("/api/admin/consistency").catch((error) => {
      isMissing = error.status === 404;
      throw error;
    });
    await shown(note, report, (found) => this.#show(found));
    // No report is no error: nothing was checked yet.
    if (!isMissing) return;
    note.textContent = "No check has been made yet.";
    note.parentElement.classList.remove("stale");
  }

  #show(report) {
    const percent = report.data_consistency_score;
    const words = { running: "A check is running.", failed: `The last check failed: ${report.reason}` };
    arrange(byId("consistency"), [
      el("p", { class: "big" }, percent === null ? "–" : `${percent} %`, el("span", { class: "soft" }, " agree")),
      el("p", {}, words[report.state] ?? verdict(report)),
      el("dl", { class: "facts" }, ...Object.entries(report.pairs).flatMap(([name, pair]) => [
        el("dt", {}, PAIRS[name] ?? name),
        el("dd", {}, `${count(pair.compared)} compared, ${pair.differing ? kinds(pair) : "none differs"}`),
      ])),
      el("p", { class: "note" }, `Check ${report.id}, ${fullTime(report.started_at)}`,
        report.seconds === null ? "" : `, took ${span(report.seconds)}`),
    ]);
  }

  async #repair() {
    const text = "Differences are repaired from the tier with the right copy. The report lists the repairs.";
    if (await confirmed({ title: "Check all tiers, and repair?", text, action: "Check and repair" })) await this.#start(true);
  }

  async #start(repair) {
    await attempted("No check was started", () => call("POST", "/api/admin/check-consistency", { repair }));
    await this.#ask();
  }
}

function verdict({ compared, differing, repaired }) {
  if (!differing) return `${plural(compared, "item")} compared, no difference.`;
  return `${count(differing)} of ${count(compared)} differ${repaired ? `, ${count(repaired)} of them were mended` : ""}.`;
}

function kinds({ differing, kinds: byKind, repaired }) {
  const named = Object.entries(byKind).map(([kind, number]) => `${number} ${kind.replaceAll("_", " ")}`);
  return `${count(differing)} differ (${named.join(", ")})${repaired ? `, ${count(repaired)} mended` : ""}`;
}
