// The HTTP API, as the user whose token there is.

import { end, token } from "./session.js";

const TIMEOUT_MS = 20_000;
const PASSING = new Set([429, 502, 503, 504]);
// What stands before a server speaks no JSON.
const OF_STATUS = { 413: "it is too large", 429: "too much at once; it has to wait a little" };

// What the server says is wrong (RFC 9457).
export class Problem extends Error {
  // `retryAfterMs` is when the server wants to be asked again, undefined where it does not say.
  constructor(status, body, retryAfterMs) {
    super(body.detail ?? OF_STATUS[status] ?? `the server answered ${status}`);
    this.status = status;
    this.code = body.code ?? "";
    this.retryAfterMs = retryAfterMs;
  }
}

// Nobody answered: whether the call did anything is not known.
export class Unreachable extends Error {
  constructor() {
    super(navigator.onLine ? "The server does not answer." : "There is no network.");
  }
}

// Whether the same call may well succeed a little later.
export const mayPass = (error) => error instanceof Unreachable || PASSING.has(error.status);

// Any call. Gives what the body says, null where there is none. Raises `Problem`, `Unreachable`.
export async function call(method, path, body, headers = {}) {
  const reply = await fetched(method, path, body, headers, token());
  // Only a session that was good can end: a token that is being tried is the form's matter.
  if (reply.status === 401) end("Your token is no longer good. Please sign in again.");
  return read(reply);
}

export const get = (path) => call("GET", path);

// What the server says to whoever tries a token, without keeping it.
export async function tried(given) {
  return read(await fetched("GET", "/api/console", undefined, {}, given));
}

// A path with each name in its place made safe.
export function path(parts, ...names) {
  return parts.reduce((made, part, number) => made + encodeURIComponent(names[number - 1]) + part);
}

// A query of those values that are given.
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function fetched(method, where, body, headers, bearer) {
  const sent = { ...headers, Authorization: `Bearer ${bearer}` };
  if (body !== undefined) sent["Content-Type"] = "application/json";
  try {
    return await fetch(where, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Unreachable();
  }
}

async function read(reply) {
  const text = await reply.text().catch(() => "");
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    body = null;
  }
  if (!reply.ok) throw new Problem(reply.status, body ?? {}, seconds(reply.headers.get("Retry-After")));
  return body;
}

function seconds(text) {
  const number = Number.parseInt(text ?? "", 10);
  return Number.isNaN(number) ? undefined : number * 1_000;
}
