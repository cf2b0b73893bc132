// What somebody wrote and has not sent: kept as long as the tab, over a reload and a new sign-in too,
// for the user who wrote it. Who signs out takes it along.

const OWN = "threadkeep.";
const WRITTEN = /^threadkeep\.(drafts|unsent)\.(.+)$/;
let isForgotten = false;

// Keeps a value. False where the browser has no room for it.
export function keep(name, value) {
  if (isForgotten) return true;
  try {
    sessionStorage.setItem(OWN + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

// What was kept, else what is given.
export function kept(name, otherwise) {
  try {
    return JSON.parse(sessionStorage.getItem(OWN + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// Whether a user has written anything that is not sent.
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
