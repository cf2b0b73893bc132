// Lines over the last ten minutes. Their content is also in words beside them, and in a table.

import { arrange, el, svg } from "../shared/dom.js";
import { clock, clockWithSeconds } from "../shared/words.js";

const HEIGHT = 190;
const EDGE = { left: 44, right: 22, top: 12, bottom: 26 };
const LABEL_SECONDS = 120;

// `lines` names the shown series, each with a `key`, a `name` and a `mark`; `format` makes a value
// into text.
export class Chart {
  #root;
  #title;
  #lines;
  #format;
  #picture = svg("svg", { role: "img", tabindex: "0", class: "chart-picture", height: HEIGHT });
  #legend = el("dl", { class: "legend" });
  #table = el("tbody");
  #series = null;
  #chosen = null;

  constructor(root, { title, lines, format }) {
    this.#root = root;
    this.#title = title;
    this.#lines = lines;
    this.#format = format;
    const heads = ["At", ...lines.map(({ name }) => name)].map((name) => el("th", { scope: "col" }, name));
    root.append(
      this.#legend,
      this.#picture,
      el(
        "details",
        {},
        el("summary", {}, "As a table"),
        el("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": `${title}, as a table` },
          el("table", {}, el("thead", {}, el("tr", {}, ...heads)), this.#table)),
      ),
    );
    this.#picture.addEventListener("pointermove", (event) => this.#point(event));
    this.#picture.addEventListener("pointerleave", () => this.#choose(null));
    this.#picture.addEventListener("blur", () => this.#choose(null));
    this.#picture.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#series && this.#draw()).observe(root);
  }

  show(series) {
    this.#series = series;
    this.#draw();
    const rows = series.at.map((at, number) => [at, number]).reverse();
    arrange(
      this.#table,
      rows.map(([at, number]) => el("tr", {}, el("th", { scope: "row" }, clockWithSeconds(at * 1000)),
        ...this.#lines.map(({ key }) => el("td", {}, this.#format(series[key][number]))))),
    );
  }

  #draw() {
    const width = Math.floor(this.#root.clientWidth);
    const { at } = this.#series;
    if (width < 100 || at.length < 2) return;
    const top = ceiling(Math.max(0, ...this.#lines.flatMap(({ key }) => this.#series[key].map((value) => value ?? 0))));
    const x = (number) => EDGE.left + (number / (at.length - 1)) * (width - EDGE.left - EDGE.right);
    const y = (value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom);
    this.#picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    arrange(this.#picture, [
      ...[0, 0.5, 1].map((share) => this.#rule(width, y(top * share), top * share)),
      ...at.map((moment, number) => ({ moment, number })).filter(({ moment }) => moment % LABEL_SECONDS === 0)
        .map(({ moment, number }) =>
          svg("text", { x: x(number), y: HEIGHT - 8, "text-anchor": "middle" }, clock(moment * 1000))),
      // A series of zeros is only in the legend; the first line is drawn over the others.
      ...this.#lines.toReversed().filter(({ key }) => this.#series[key].some(Boolean))
        .map(({ key, mark }) => svg("path", { class: `series ${mark}`, d: drawn(this.#series[key], x, y) })),
      this.#chosen === null ? svg("g") : this.#crosshair(x, y),
    ]);
    this.#showLegend();
  }

  #rule(width, y, value) {
    return svg("g", { class: "rule" },
      svg("path", { d: `M${EDGE.left} ${y}H${width - EDGE.right}` }),
      svg("text", { x: EDGE.left - 8, y: y + 4, "text-anchor": "end" }, short(value)),
    );
  }

  #crosshair(x, y) {
    const place = x(this.#chosen);
    const dots = this.#lines
      .filter(({ key }) => this.#series[key][this.#chosen] !== null)
      .map(({ key, mark }) => svg("circle", { class: mark, cx: place, cy: y(this.#series[key][this.#chosen]), r: 3.5 }));
    return svg("g", { class: "crosshair" }, svg("path", { d: `M${place} ${EDGE.top}V${HEIGHT - EDGE.bottom}` }), ...dots);
  }

  #showLegend() {
    const number = this.#chosen ?? this.#series.at.length - 1;
    const when = this.#chosen === null ? "now" : clockWithSeconds(this.#series.at[number] * 1000);
    const values = this.#lines.map(({ key, name, mark }) => ({ name, mark, value: this.#format(this.#series[key][number]) }));
    arrange(this.#legend, [
      ...values.map(({ name, mark, value }) => el("div", {},
        el("dt", {}, lineKey(mark), name),
        el("dd", {}, value))),
      el("div", { class: "when" }, el("dt", { class: "unseen" }, "at"), el("dd", {}, when)),
    ]);
    const words = values.map(({ name, value }) => `${name} ${value}`).join(", ");
    this.#picture.setAttribute("aria-label", `${this.#title} over ten minutes; ${when}: ${words}.`);
  }

  #point(event) {
    const { left, width } = this.#picture.getBoundingClientRect();
    const share = (event.clientX - left - EDGE.left) / (width - EDGE.left - EDGE.right);
    this.#choose(Math.round(share * (this.#series?.at.length - 1)));
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.#series) return;
    event.preventDefault();
    this.#choose((this.#chosen ?? this.#series.at.length - 1) + step);
  }

  #choose(number) {
    if (!this.#series) return;
    this.#chosen = number === null ? null : Math.min(this.#series.at.length - 1, Math.max(0, number));
    this.#draw();
  }
}

const lineKey = (mark) =>
  svg("svg", { class: `key ${mark}`, viewBox: "0 0 22 8", "aria-hidden": "true" }, svg("path", { d: "M1 4h20" }));

// A line through the values, with gaps where there is none.
function drawn(values, x, y) {
  let path = "";
  let isDown = false;
  values.forEach((value, number) => {
    if (value === null || value === undefined) {
      isDown = false;
      return;
    }
    path += `${isDown ? "L" : "M"}${x(number).toFixed(1)} ${y(value).toFixed(1)}`;
    // A value between two gaps would be a point without length.
    if (!isDown && (values[number + 1] ?? null) === null) path += "h0.01";
    isDown = true;
  });
  return path;
}

// The next round number above the highest value.
function ceiling(highest) {
  if (highest <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(highest));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((round) => round >= highest * 1.05) ?? 20 * power;
}

const short = (value) => (value >= 1_000 ? `${value / 1_000}k` : String(Number(value.toPrecision(3))));
