/** What calls throw. */

import type { WrongField } from "./answers.js";

export class ThreadkeepError extends Error {
  /** Whether the same call may succeed a little later. */
  readonly isPassing: boolean = false;
  /** How long to wait before that, as far as it is known. */
  readonly retryAfterMs: number = 0;
}

/** No answer came, also after the retries: nobody knows whether the call was carried out. */
export class ConnectionLost extends ThreadkeepError {
  override readonly isPassing = true;
}

const PASSING = [408, 429, 502, 503, 504];

/** The body of a refusal (RFC 9457). */
interface Problem {
  code: string;
  detail: string;
  request_id?: string;
  errors?: WrongField[];
  current_version?: number;
  length?: number;
}

/** The server refused. `code` never changes: docs/errors.md says what to do about each. */
export class ApiError extends ThreadkeepError {
  override readonly isPassing: boolean;
  readonly code: string;
  readonly detail: string;
  readonly errors: WrongField[];
  readonly requestId: string | undefined;
  /** With a version conflict: the version that is current. */
  readonly currentVersion: number | undefined;
  /** With what a stream refuses: where its text ends, in bytes of UTF-8. */
  readonly length: number | undefined;

  constructor(readonly status: number, problem: Problem, override readonly retryAfterMs: number) {
    super(`${problem.code}: ${problem.detail}`);
    this.isPassing = PASSING.includes(status);
    this.code = problem.code;
    this.detail = problem.detail;
    this.errors = problem.errors ?? [];
    this.requestId = problem.request_id;
    this.currentVersion = problem.current_version;
    this.length = problem.length;
  }
}

/** Whether the server refused with this code. */
export function isCode(error: unknown, code: string): error is ApiError {
  return error instanceof ApiError && error.code === code;
}

/** The error that an answer stands for, whoever gave it: a proxy knows no problem bodies. */
export async function errorOf(reply: Response): Promise<ApiError> {
  const text = await reply.text();
  let problem: Problem = { code: `http_${reply.status}`, detail: text.slice(0, 200) };
  try {
    problem = { ...problem, ...JSON.parse(text) };
  } catch {
    // It stays what it is.
  }
  const seconds = Number(reply.headers.get("Retry-After"));
  return new ApiError(reply.status, problem, seconds > 0 ? seconds * 1000 : 0);
}
