/** Requests, each sent until it is answered. */

import { ApiError, ConnectionLost, errorOf, ThreadkeepError } from "./errors.js";
import type { Options } from "./options.js";
import { pauseMs, sleep } from "./pauses.js";
import type { Keyed } from "./requests.js";

const ATTEMPTS = 8;
const TIMEOUT_MS = 30_000;
/** What asks for more patience than this is not retried. */
const PATIENCE_MS = 60_000;

export interface Request {
  method: string;
  path: string;
  query?: object;
  headers?: Record<string, string>;
  body?: unknown;
  signal?: AbortSignal | undefined;
  attempts?: number | undefined;
}

export class Connection {
  #token: string | undefined;

  constructor(readonly options: Options) {}

  /** Makes a call and returns the JSON of its answer. Throws `ThreadkeepError`. */
  async call<Answer>(request: Request): Promise<Answer> {
    const most = request.attempts ?? this.options.attempts ?? ATTEMPTS;
    for (let failures = 0; ; failures++) {
      try {
        const reply = await this.send({ ...request, signal: this.#limited(request.signal) });
        const text = await reply.text();
        return (text ? JSON.parse(text) : undefined) as Answer;
      } catch (error) {
        const failure = failureOf(error, request.signal);
        const asked = failure.retryAfterMs;
        if (isDone(request, failure, failures)) return undefined as Answer;
        if (!failure.isPassing || failures + 1 >= most || asked > PATIENCE_MS) throw failure;
        await sleep(asked + pauseMs(failures), request.signal);
      }
    }
  }

  /** Sends a request once, or twice if the token has to be renewed. Throws `ApiError`. */
  async send(request: Request): Promise<Response> {
    const { token } = this.options;
    for (let isRenewed = false; ; isRenewed = true) {
      this.#token ??= typeof token === "string" ? token : await token();
      const reply = await fetch(this.#address(request), this.#init(request));
      if (reply.ok) return reply;
      const error = await errorOf(reply);
      if (error.status !== 401 || isRenewed || typeof token === "string") throw error;
      this.#token = undefined;
    }
  }

  /** The signal of a call that may take so long. Node 18 cannot join two: the caller's counts. */
  #limited(signal?: AbortSignal): AbortSignal {
    const limit = AbortSignal.timeout(this.options.timeoutMs ?? TIMEOUT_MS);
    if (signal === undefined) return limit;
    return "any" in AbortSignal ? AbortSignal.any([signal, limit]) : signal;
  }

  #address({ path, query = {} }: Request): URL {
    const address = new URL(path, this.options.url);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) address.searchParams.set(name, String(value));
    }
    return address;
  }

  #init({ method, headers, body, signal }: Request): RequestInit {
    const { onBehalfOf } = this.options;
    return {
      method,
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(onBehalfOf === undefined ? {} : { "Threadkeep-User": encodeURIComponent(onBehalfOf) }),
        ...headers,
        Authorization: `Bearer ${this.#token}`,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: signal ?? null,
    };
  }
}

/** What went wrong. The caller's own end of the call is thrown as it is. */
export function failureOf(error: unknown, signal?: AbortSignal): ThreadkeepError {
  if (signal?.aborted) throw signal.reason;
  if (error instanceof ThreadkeepError) return error;
  // A lost connection is a TypeError of `fetch`, and a time-out a DOMException.
  return new ConnectionLost(String(error), { cause: error });
}

/** The header with the key of a write: one for all its repeats. */
export function keyed(options: Keyed): Record<string, string> {
  return { "Idempotency-Key": options.idempotencyKey ?? newKey() };
}

/** A new key; later ones sort after it. Not from `crypto`, which Node 18 does not have at hand. */
export function newKey(timeMs = Date.now()): string {
  const random = () => Math.random().toString(36).slice(2);
  return `${timeMs.toString(36)}-${random()}${random()}`;
}

/** A repeated deletion that finds nothing has been done. */
function isDone(request: Request, failure: ThreadkeepError, failures: number): boolean {
  return (
    request.method === "DELETE" &&
    failures > 0 &&
    failure instanceof ApiError &&
    failure.status === 404
  );
}
