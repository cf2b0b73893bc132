// The address of the open thread and message: `#/thread/message`. It may be typed by hand.

const THREAD = /^[A-Za-z0-9._:-]{1,128}$/;
const MESSAGE = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const hrefOf = (threadId, messageId) =>
  `#/${encodeURIComponent(threadId)}${messageId ? `/${messageId}` : ""}`;

// The parts of an address: `{threadId, messageId}`, null for missing ones; null for a wrong address.
export function addressed(hash) {
  if (!hash.startsWith("#/") || hash === "#/") return { threadId: null, messageId: null };
  const [threadId, messageId = null, ...more] = hash.slice(2).split("/").map(decoded);
  const isGood = THREAD.test(threadId) && (messageId === null || MESSAGE.test(messageId)) && !more.length;
  return isGood ? { threadId, messageId } : null;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}
