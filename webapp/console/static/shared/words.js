// Times, sizes and numbers as people read them.

const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const SECONDS = new Intl.DateTimeFormat("en", {
  ...{ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
});
const WEEKDAY = new Intl.DateTimeFormat("en", { weekday: "short" });
const DATE = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
const FULL = new Intl.DateTimeFormat("en", { day: "numeric", month: "long", year: "numeric" });
const COUNT = new Intl.NumberFormat("en");
const DAY_MS = 86_400_000;

export const TIERS = { redis: "Redis", postgresql: "PostgreSQL", clickhouse: "ClickHouse" };

export const clock = (moment) => CLOCK.format(new Date(moment));
export const clockWithSeconds = (moment) => SECONDS.format(new Date(moment));
export const count = (number) => COUNT.format(number);
export const fullTime = (moment) => `${FULL.format(new Date(moment))}, ${clockWithSeconds(moment)}`;

// Short, for lists: the time today, the weekday this week, else the date.
export function brief(moment, now = Date.now()) {
  const when = new Date(moment);
  if (dayOf(when) === dayOf(now)) return clock(when);
  if (now - when < 6 * DAY_MS) return WEEKDAY.format(when);
  if (when.getFullYear() === new Date(now).getFullYear()) return DATE.format(when);
  return String(when.getFullYear());
}

// The day of a moment, as a heading of a conversation.
export function dayOf(moment) {
  return FULL.format(new Date(moment));
}

export function dayName(moment, now = Date.now()) {
  const day = dayOf(moment);
  if (day === dayOf(now)) return "Today";
  return day === dayOf(now - DAY_MS) ? "Yesterday" : day;
}

// A duration in seconds as text: "0.3 s", "42 s", "5 min", "3 h", "2 days", without a line break.
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)}\u00a0s`;
  if (seconds < 100) return `${Math.round(seconds)}\u00a0s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)}\u00a0min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)}\u00a0h`;
  return `${Math.round(seconds / 86_400)}\u00a0days`;
}

// Three digits at most: "0.42", "7.3", "128", "1.2k"; whole numbers stay whole.
export function figure(number) {
  if (number === null || number === undefined) return "–";
  if (Number.isInteger(number) && number < 1_000) return String(number);
  if (number < 1) return number.toFixed(2);
  if (number < 10) return number.toFixed(1);
  if (number < 1_000) return String(Math.round(number));
  if (number < 999_500) return `${(number / 1e3).toFixed(number < 9_950 ? 1 : 0)}k`;
  return `${(number / 1e6).toFixed(1)}M`;
}

export const milliseconds = (number) => (number === null || number === undefined ? "–" : `${figure(number)} ms`);

export function bytes(number) {
  if (number === null || number === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let size = number;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

// Foreign text as a sentence inside another.
export const sentence = (words) => (/[.!?]$/.test(words) ? words : `${words}.`);
