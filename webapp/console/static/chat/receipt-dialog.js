// The receipt: which tiers have a message, with version and hash.

import { actionButton, arrange, el, iconButton } from "../shared/dom.js";
import { WORDS, heldBy, stitches } from "./stitches.js";
import { TIERS, fullTime } from "../shared/words.js";

const MEANING = {
  acknowledged: "It is on disk, and on its way to the next tier.",
  persisted: "PostgreSQL has committed its newest version.",
  archived: "ClickHouse has its newest version.",
  refused: "PostgreSQL refused it; an operator must decide.",
  deleted: "It is hidden, and a tier may still have its text.",
  erased: "It was deleted, and no tier has its text.",
};

// Shows the receipt of a message; `fetched` reads it again at each call.
export async function showReceipt(fetched) {
  const content = el("div", { class: "receipt-content", "aria-live": "polite" }, el("p", {}, "Asking every tier…"));
  const dialog = el("dialog", { class: "drawer", "aria-labelledby": "receipt-title" });
  const load = async () => {
    try {
      arrange(content, described(await fetched()));
    } catch (error) {
      arrange(content, [el("p", { class: "trouble" }, `No receipt: ${error.message}`)]);
    }
  };
  dialog.append(
    el(
      "header",
      {},
      el("h2", { id: "receipt-title" }, "Receipt"),
      iconButton("close", "Close", () => dialog.close()),
    ),
    content,
    el("div", { class: "buttons" }, actionButton("Try again", load)),
  );
  dialog.addEventListener("close", () => dialog.remove());
  // A click outside the drawer is a click on the dialog itself.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  await load();
}

function described(receipt) {
  return [
    el("p", { class: "receipt-state" }, stitches(receipt.state, heldBy(receipt)), el("strong", {}, WORDS[receipt.state])),
    el("p", { class: "soft" }, MEANING[receipt.state]),
    el(
      "ol",
      { class: "tiers" },
      ...Object.keys(TIERS).map((tier) => tierOf(tier, receipt.tiers[tier], receipt)),
    ),
    el("h3", {}, "The message"),
    el(
      "dl",
      { class: "facts" },
      ...fact("Id", el("code", {}, receipt.id)),
      ...fact("Thread", el("code", {}, receipt.thread_id)),
      ...fact("Version", String(receipt.version)),
      ...fact("SHA-256", el("code", {}, receipt.content_hash)),
    ),
  ];
}

function tierOf(tier, { present, copies, pending }, receipt) {
  const words = present === null ? "does not answer" : present ? "has it" : "does not hold it";
  const held = present === null ? "unknown" : present ? "there" : "absent";
  return el(
    "li",
    { class: held },
    el("h3", {}, TIERS[tier], el("span", { class: "soft" }, ` ${words}`)),
    pending ? el("p", { class: "soft" }, "In the log, on its way to PostgreSQL.") : null,
    ...copies.map((copy) => copyOf(copy, receipt)),
  );
}

function copyOf(copy, receipt) {
  const age = copy.version === receipt.version ? "newest" : "earlier";
  const agrees = copy.intact ? "intact" : "does not match its hash";
  return el(
    "dl",
    { class: copy.intact ? "facts" : "facts trouble" },
    ...fact("Version", `${copy.version}, ${copy.deleted ? "deleted" : age}, ${agrees}`),
    ...fact("SHA-256", el("code", { title: copy.content_hash }, copy.content_hash.slice(0, 16), "…")),
    ...fact("Since", el("time", { datetime: copy.since }, fullTime(copy.since))),
  );
}

const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];
