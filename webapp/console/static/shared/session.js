// The token: pasted, kept as long as the tab, and never in an address.

import { forgetAll } from "./kept.js";

const TOKEN = "threadkeep.token";
const NOTICE = "threadkeep.notice";
let isEnding = false;

export const token = () => sessionStorage.getItem(TOKEN);

export function begin(given) {
  sessionStorage.setItem(TOKEN, given);
}

// Forgets the token and starts the page anew: nothing of what it showed is left. What was written
// and is not sent stays with the tab until its writer is back.
export function end(notice) {
  if (isEnding) return;
  isEnding = true;
  sessionStorage.removeItem(TOKEN);
  sessionStorage.setItem(NOTICE, notice);
  location.reload();
}

// The same, and nothing stays.
export function signOut() {
  forgetAll();
  end("You are signed out.");
}

export const isOver = () => isEnding;

// Why the session before this one ended, once.
export function notice() {
  const text = sessionStorage.getItem(NOTICE) ?? "";
  sessionStorage.removeItem(NOTICE);
  return text;
}
