// A short word about what did not work, or did: seen for a while, and read aloud.

import { byId, el } from "./dom.js";

const SHOWN_MS = { false: 6_000, true: 12_000 };

export function toast(text, { isTrouble = false } = {}) {
  // Said twice it is one thing.
  for (const other of byId("toasts").children) if (other.textContent === text) other.remove();
  const note = el("p", { class: isTrouble ? "toast trouble" : "toast" }, text);
  byId("toasts").append(note);
  const goSoon = () => setTimeout(() => note.remove(), SHOWN_MS[isTrouble]);
  let timer = goSoon();
  // Whoever reads it slowly points at it.
  note.addEventListener("pointerenter", () => clearTimeout(timer));
  note.addEventListener("pointerleave", () => (timer = goSoon()));
}

// Does something, and says so if it does not work. Whether it did.
export async function attempted(what, act) {
  try {
    await act();
    return true;
  } catch (error) {
    toast(`${what}: ${error.message}`, { isTrouble: true });
    return false;
  }
}
