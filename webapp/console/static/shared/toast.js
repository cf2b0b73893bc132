// A short message about an action: shown for a while, and read aloud.

import { byId, el } from "./dom.js";

const SHOWN_MS = { false: 6_000, true: 12_000 };

export function toast(text, { isTrouble = false } = {}) {
  // The same text twice is one message.
  for (const other of byId("toasts").children) if (other.textContent === text) other.remove();
  const note = el("p", { class: isTrouble ? "toast trouble" : "toast" }, text);
  byId("toasts").append(note);
  const goSoon = () => setTimeout(() => note.remove(), SHOWN_MS[isTrouble]);
  let timer = goSoon();
  // It stays while the pointer is on it.
  note.addEventListener("pointerenter", () => clearTimeout(timer));
  note.addEventListener("pointerleave", () => (timer = goSoon()));
}

// Runs an action and shows its error. Returns whether it succeeded.
export async function attempted(what, act) {
  try {
    await act();
    return true;
  } catch (error) {
    toast(`${what}: ${error.message}`, { isTrouble: true });
    return false;
  }
}
