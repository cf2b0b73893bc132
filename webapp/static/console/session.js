// The token: pasted, kept as long as the tab, and never in an address.

const TOKEN = "threadkeep.token";
const NOTICE = "threadkeep.notice";
let isEnding = false;

export const token = () => sessionStorage.getItem(TOKEN);

export function begin(given) {
  sessionStorage.setItem(TOKEN, given);
}

// Forgets the token and starts the page anew: nothing of what it showed is left.
export function end(notice = "") {
  if (isEnding) return;
  isEnding = true;
  sessionStorage.removeItem(TOKEN);
  if (notice) sessionStorage.setItem(NOTICE, notice);
  location.reload();
}

// Why the session before this one ended, once.
export function notice() {
  const text = sessionStorage.getItem(NOTICE) ?? "";
  sessionStorage.removeItem(NOTICE);
  return text;
}
