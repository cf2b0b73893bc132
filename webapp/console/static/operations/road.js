// The pipeline as it is now: tiers, and arrows for the stages between them. Colour, line, sign and
// text show the state of an arrow.

import { arrange, el, svg } from "../shared/dom.js";
import { placesOf } from "./road-places.js";
import { TIERS, bytes, figure, milliseconds, span } from "../shared/words.js";

const NAMES = {
  acknowledge: "acknowledge",
  persist: "persist",
  replicate: "replicate",
  archive: "archive",
  detour_postgresql: "detour to PostgreSQL",
  detour_clickhouse: "detour to ClickHouse",
};
const PLACES = { client: "Clients", ...TIERS };

export class Road {
  #picture = svg("svg", { role: "img", class: "road-picture" });
  #table = el("tbody");
  #drawn = null;
  #road = null;

  constructor(root, table) {
    root.append(this.#picture);
    table.append(this.#table);
    new ResizeObserver(() => {
      this.#drawn = null;
      if (this.#road) this.show(this.#road);
    }).observe(root);
  }

  // Shows the pipeline; without one, the shown one is marked as old.
  show(road) {
    this.#road = road;
    const width = Math.floor(this.#picture.parentElement.clientWidth);
    if (!width) return;
    this.#drawn ??= this.#draw(width);
    for (const arrow of road.arrows) this.#showArrow(arrow);
    for (const [name, tier] of Object.entries(road.tiers)) this.#showTier(name, tier, road);
    this.#picture.setAttribute("aria-label", summary(road));
    arrange(this.#table, road.arrows.map(row));
  }

  #draw(width) {
    const plan = placesOf(width);
    this.#picture.setAttribute("viewBox", `0 0 ${width} ${plan.height}`);
    this.#picture.setAttribute("height", plan.height);
    this.#picture.classList.toggle("upright", plan.isUpright);
    const arrows = new Map();
    const nodes = new Map();
    for (const [name, way] of Object.entries(plan.arrows)) arrows.set(name, arrowAt(way));
    for (const [name, place] of Object.entries(plan.nodes)) nodes.set(name, nodeAt(PLACES[name], place));
    arrange(this.#picture, [...arrows.values(), ...nodes.values()].map(({ element }) => element));
    return { arrows, nodes, plan };
  }

  #showArrow(arrow) {
    const drawn = this.#drawn.arrows.get(arrow.name);
    if (!drawn) return;
    const isDetour = arrow.name.startsWith("detour");
    const isIdle = !arrow.per_second && !arrow.waiting;
    // An unused failover path is no problem, whatever its tier does.
    const state = isDetour && isIdle && arrow.state !== "stopped" ? "idle" : arrow.state;
    const marks = ["arrow", state, isDetour ? "detour" : "", arrow.per_second ? "flows" : ""];
    drawn.element.setAttribute("class", marks.filter(Boolean).join(" "));
    drawn.element.dataset.arrow = arrow.name;
    drawn.element.dataset.state = arrow.state;
    drawn.flow.style.animationDuration = `${Math.max(0.35, 3 / Math.log2(2 + arrow.per_second)).toFixed(2)}s`;
    const lines = linesOf(arrow, isDetour && isIdle, this.#drawn.plan.isUpright);
    drawn.lines.forEach((line, number) => (line.textContent = lines[number] ?? ""));
  }

  #showTier(name, tier, road) {
    const drawn = this.#drawn.nodes.get(name);
    const state = tier.available ? "up" : "down";
    drawn.element.setAttribute("class", `node ${state}`);
    drawn.element.dataset.state = state;
    drawn.lines[0].textContent = tier.available ? `answers in ${milliseconds(tier.latency_ms)}` : "does not answer";
    // A closed breaker is not shown.
    const isOpen = tier.breaker !== "closed";
    drawn.lines[1].textContent = isOpen ? `breaker ${tier.breaker}` : tier.memory_bytes ? memory(tier) : "";
    if (!this.#drawn.plan.isUpright) return;
    const detour = road.arrows.find((arrow) => arrow.name === `detour_${name}`);
    if (detour?.per_second || detour?.waiting) drawn.lines[1].textContent = `${figure(detour.per_second)} /s by the detour`;
  }
}

// The text at an arrow: its job, rate and backlog. At most three lines, and one for failover; narrow
// if the pipeline is vertical, as two arrows are side by side then.
function linesOf(arrow, isQuiet, isUpright) {
  const { name, per_second: rate, waiting, oldest_waiting_seconds: age, state } = arrow;
  const isTold = isUpright && state !== "ok";
  const head = isTold || state === "ok" ? NAMES[name] : `${NAMES[name]}: ${state}`;
  if (isQuiet) return [state === "ok" ? `${head}, not needed` : head];
  if (name.startsWith("detour")) return [`${head}, ${figure(rate)} /s, ${waits(waiting, age) || "nothing waits"}`];
  const speed = arrow.p95_ms ? `p95 ${milliseconds(arrow.p95_ms)}` : "";
  // The rate of a stopped stage is left over from the seconds before.
  if (!isUpright && state === "stopped") return [head, waits(waiting, age)];
  const much = state === "stopped" ? state : `${isTold ? `${state}, ` : ""}${figure(rate)} /s`;
  return [head, much, [waits(waiting, age), speed].filter(Boolean).join(", ")];
}

function waits(waiting, age) {
  if (waiting === null || waiting === undefined) return "";
  if (!waiting) return "nothing waits";
  return `${figure(waiting)} wait${age ? `, ${span(age)}` : ""}`;
}

function memory(tier) {
  const limit = tier.memory_limit_bytes ? ` of ${bytes(tier.memory_limit_bytes)}` : "";
  return `${bytes(tier.memory_bytes)}${limit}`;
}

function arrowAt({ path, head, sign, label }) {
  const flow = svg("path", { d: path, class: "flow" });
  const lines = [0, 1, 2].map((number) =>
    svg("text", {
      ...{ x: label.x, y: label.y + number * 17, "text-anchor": label.anchor },
      class: number === 0 ? "label" : number === 1 ? "rate" : "detail",
    }),
  );
  const element = svg(
    "g",
    {},
    svg("path", { d: path, class: "line" }),
    flow,
    svg("path", { d: head, class: "head" }),
    // A triangle means slow, a cross stopped.
    svg("path", { d: `M${sign.x} ${sign.y - 9}l9 16h-18z`, class: "sign-slow" }),
    svg("path", { d: `M${sign.x - 6} ${sign.y - 6}l12 12m0 -12l-12 12`, class: "sign-stopped" }),
    ...lines,
  );
  return { element, flow, lines };
}

function nodeAt(name, { x, y, width, height }) {
  const lines = [46, 64].map((down) => svg("text", { x: x + 16, y: y + down, class: "detail" }));
  const element = svg(
    "g",
    { class: "node" },
    svg("rect", { x, y, width, height, rx: 10 }),
    svg("text", { x: x + 16, y: y + 26, class: "place" }, name),
    svg("circle", { cx: x + width - 18, cy: y + 21, r: 5, class: "sign-up" }),
    svg("path", { d: `M${x + width - 23} ${y + 16}l10 10m0 -10l-10 10`, class: "sign-down" }),
    ...lines,
  );
  return { element, lines };
}

function row(arrow) {
  const cells = [
    `${PLACES[arrow.from] ?? "Clients"} → ${PLACES[arrow.to] ?? arrow.to}`,
    arrow.state,
    `${figure(arrow.per_second)} /s`,
    arrow.waiting === null ? "–" : figure(arrow.waiting),
    span(arrow.oldest_waiting_seconds),
    milliseconds(arrow.p50_ms),
    milliseconds(arrow.p95_ms),
  ];
  const head = el("th", { scope: "row" }, NAMES[arrow.name] ?? arrow.name);
  return el("tr", {}, head, ...cells.map((cell) => el("td", {}, cell)));
}

// The picture as a sentence, for screen readers.
function summary(road) {
  const down = Object.entries(road.tiers).filter(([, tier]) => !tier.available);
  const bad = road.arrows.filter((arrow) => arrow.state !== "ok");
  const tiers = down.length ? `${down.map(([name]) => TIERS[name]).join(" and ")} does not answer.` : "Every tier answers.";
  const arrows = bad.map((arrow) => `${NAMES[arrow.name]} is ${arrow.state}`).join(", ") || "every arrow is ok";
  const first = road.arrows.find((arrow) => arrow.name === "acknowledge");
  return `The pipeline. ${tiers} ${figure(first?.per_second ?? 0)} acknowledged per second; ${arrows}.`;
}
