// The token: pasted, kept as long as the tab, and never in an address.

import { forgetAll } from "./kept.js";

const TOKEN = "threadkeep.token";
const NOTICE = "threadkeep.notice";
let isEnding = false;

export const token = () => sessionStorage.getItem(TOKEN);

export function begin(given) {
  sessionStorage.setItem(TOKEN, given);
}

// Forgets the token and reloads the page, so that nothing it showed is left. Unsent text stays in
// the tab until its writer signs in again.
export function end(notice) {
  if (isEnding) return;
  isEnding = true;
  sessionStorage.removeItem(TOKEN);
  sessionStorage.setItem(NOTICE, notice);
  location.reload();
}

// The same, and deletes unsent text too.
export function signOut() {
  forgetAll();
  end("You are signed out.");
}

export const isOver = () => isEnding;

// Why the last session ended; returned once.
export function notice() {
  const text = sessionStorage.getItem(NOTICE) ?? "";
  sessionStorage.removeItem(NOTICE);
  return text;
}
