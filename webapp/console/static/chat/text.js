// A message's text as elements: fenced code becomes a block, all else stays as it was written.

import { el } from "../shared/dom.js";

// A fence that is not closed reaches to the end, as while an answer is streaming.
const FENCE = /^```[^\n`]*\n([\s\S]*?)(?:\n```[ \t]*$|(?![\s\S]))/gm;
const INLINE = /`([^`\n]+)`/g;

// The parts of a text, for `replaceChildren`.
export function written(text) {
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(FENCE)) {
    parts.push(...prose(text.slice(from, found.index)));
    // Makes wide blocks scrollable by keys.
    parts.push(el("pre", { tabindex: "0" }, el("code", {}, found[1])));
    from = found.index + found[0].length;
  }
  parts.push(...prose(text.slice(from)));
  return parts;
}

function prose(given) {
  // The line breaks around a block are shown as its margin.
  const text = given.replace(/^\n+|\n+$/g, "");
  if (!text) return [];
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    parts.push(text.slice(from, found.index), el("code", {}, found[1]));
    from = found.index + found[0].length;
  }
  parts.push(text.slice(from));
  return [el("p", { dir: "auto" }, ...parts)];
}

// The part of a text around its first highlight, with the highlights marked. Their positions are
// in code points, as a database counts them, not in UTF-16 units.
export function excerpt(text, highlights, most = 160) {
  const characters = [...text];
  const first = highlights.length ? highlights[0][0] : 0;
  let from = Math.max(0, Math.min(first - 40, characters.length - most));
  // It begins with a whole word, if one begins soon.
  const gap = from ? characters.slice(from, first).findIndex((one) => /\s/.test(one)) : -1;
  if (gap >= 0 && gap < 20) from += gap + 1;
  const until = Math.min(characters.length, from + most);
  const slice = (low, high) => characters.slice(low, high).join("").replace(/\s+/g, " ");
  const parts = [from > 0 ? "…" : ""];
  let at = from;
  for (const [low, high] of highlights) {
    if (low < at || high > until) continue;
    parts.push(slice(at, low), el("mark", {}, slice(low, high)));
    at = high;
  }
  parts.push(slice(at, until), until < characters.length ? "…" : "");
  return parts;
}
