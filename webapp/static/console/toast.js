// A short word about what did not work, or did: seen for a while, and read aloud.

import { byId, el } from "./dom.js";

const SHOWN_MS = 6_000;

export function toast(text, { isTrouble = false } = {}) {
  const note = el("p", { class: isTrouble ? "toast trouble" : "toast" }, text);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), SHOWN_MS);
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
