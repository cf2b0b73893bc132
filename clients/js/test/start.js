// What every test begins with: the client as it is built, and the stack that the environment names.

import { Threadkeep } from "../dist/index.js";

export const url = process.env.API_URL;
export const token = process.env.API_TOKEN;

/** No event has it: the answer is `reset`, which says that the stream is open. */
export const UNKNOWN_EVENT = "1-1";

export function connect(options = {}) {
  return new Threadkeep({ url, token, ...options });
}

/** The name of a thread that no other test has. */
export function fresh(name) {
  return `${name}-${Math.random().toString(36).slice(2)}`;
}

export async function all(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}
