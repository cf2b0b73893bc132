// Unsent text of a user: kept as long as the tab, also over a reload and a new sign-in. Signing out
// deletes it.

const OWN = "threadkeep.";
const WRITTEN = /^threadkeep\.(drafts|unsent)\.(.+)$/;
let isForgotten = false;

// Stores a value. False if the browser has no space for it.
export function keep(name, value) {
  if (isForgotten) return true;
  try {
    sessionStorage.setItem(OWN + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

// The stored value, else the default.
export function kept(name, otherwise) {
  try {
    return JSON.parse(sessionStorage.getItem(OWN + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// Whether a user has unsent text.
export function hasUnsent(userId) {
  return Object.keys(sessionStorage).some((key) => {
    const [, , owner] = WRITTEN.exec(key) ?? [];
    return owner === userId && sessionStorage.getItem(key).length > "{}".length;
  });
}

export function forgetAll() {
  isForgotten = true;
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(OWN)) sessionStorage.removeItem(key);
}
