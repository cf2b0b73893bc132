// The HTTP API, as the user of the token.

import { end, token } from "./session.js";

const TIMEOUT_MS = 20_000;
const PASSING = new Set([429, 502, 503, 504]);
// A proxy in front of the server may not answer with JSON.
const OF_STATUS = { 413: "it is too large", 429: "too much at once; it has to wait a little" };

// An error answer of the server (RFC 9457).
export class Problem extends Error {
  // `retryAfterMs` is `Retry-After` in milliseconds, undefined without one.
  constructor(status, body, retryAfterMs) {
    super(body.detail ?? OF_STATUS[status] ?? `the server answered ${status}`);
    this.status = status;
    this.code = body.code ?? "";
    this.retryAfterMs = retryAfterMs;
  }
}

// No answer came: whether the call had an effect is unknown.
export class Unreachable extends Error {
  constructor() {
    super(navigator.onLine ? "The server does not answer." : "There is no network.");
  }
}

// Whether the same call may succeed a little later.
export const mayPass = (error) => error instanceof Unreachable || PASSING.has(error.status);

// Any call. Returns the decoded body, null without one. Throws `Problem` or `Unreachable`.
export async function call(method, path, body, headers = {}) {
  const reply = await fetched(method, path, body, headers, token());
  // Only a valid session can end: the form handles a token that is being tried.
  if (reply.status === 401) end("Your token is not valid any more. Please sign in again.");
  return read(reply);
}

export const get = (path) => call("GET", path);

// The facts for a token that is being tried, which is not kept.
export async function tried(given) {
  return read(await fetched("GET", "/api/console", undefined, {}, given));
}

// A path with each part escaped.
export function path(parts, ...names) {
  return parts.reduce((made, part, number) => made + encodeURIComponent(names[number - 1]) + part);
}

// A query of the values that are set.
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
