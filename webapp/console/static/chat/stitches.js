// Which tiers have a message, as a small picture: three stitches on a thread, one for each tier.

import { svg } from "../shared/dom.js";
import { TIERS } from "../shared/words.js";

const NAMES = Object.keys(TIERS);
const RANK = { acknowledged: 1, persisted: 2, archived: 3 };

export const WORDS = {
  acknowledged: "Acknowledged",
  persisted: "Persisted",
  archived: "Archived",
  refused: "Refused",
  deleted: "Deleted",
  erased: "Erased",
};

// The state of a message by the tier that acknowledged it.
export const STATE_OF = { redis: "acknowledged", postgresql: "persisted", clickhouse: "archived" };

export const rankOf = (state) => RANK[state] ?? 0;

// `holds` has true, false or null (no answer) for each tier. Without a receipt the state is enough,
// unless another tier than the first took the message.
export function stitches(state, holds = null, takenBy = null) {
  const isDetour = takenBy !== null && takenBy !== NAMES[0];
  const has = holds ?? NAMES.map((name, number) => (isDetour ? name === takenBy : number < rankOf(state)));
  const marks = has.map((there, number) => {
    const place = { cx: 5 + number * 11, cy: 6, r: 3.5 };
    return svg("circle", { ...place, class: there === null ? "unknown" : there ? "there" : "absent" });
  });
  return svg(
    "svg",
    { class: "stitches", viewBox: "0 0 32 12", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: "M5 6h22" }),
    ...marks,
  );
}

// Each tier of a receipt, for the picture above.
export function heldBy(receipt) {
  return NAMES.map((tier) => {
    const { present, copies } = receipt.tiers[tier];
    return present === null ? null : copies.some((copy) => copy.version === receipt.version);
  });
}
