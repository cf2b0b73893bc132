/** Posts that wait for the network. */

import type { AcknowledgedMessage } from "./answers.js";
import type { Threadkeep } from "./client.js";
import { newKey } from "./connection.js";
import { ApiError, ThreadkeepError } from "./errors.js";
import { MemoryStorage, type QueueStorage } from "./memory_storage.js";
import { pauseMs, sleep } from "./pauses.js";
import type { Post } from "./requests.js";

export type { QueueStorage };

/** A post that was not acknowledged yet. Keys sort in the order of the posts. */
export interface QueuedPost extends Post {
  key: string;
  threadId: string;
  message: string | null;
}

export interface QueueOptions {
  /** `localStorage` to survive a reload; the memory if left out. */
  storage?: QueueStorage;
  /** What its entries in the storage begin with. Each user needs another. */
  name?: string;
  /** Hears of each message that was stored, also of those posted before a reload. */
  onSent?: (message: AcknowledgedMessage, post: QueuedPost) => void;
  /** Hears of each post that the server refuses, which leaves the queue. */
  onRefused?: (error: ApiError, post: QueuedPost) => void;
}

interface Promised {
  post: QueuedPost;
  resolve: (message: AcknowledgedMessage) => void;
  reject: (error: unknown) => void;
}

/**
 * Sends posts one after the other, in their order, each until it is acknowledged and with one
 * `Idempotency-Key`: so each is stored once, also if several tabs have the same storage.
 */
export class OfflineQueue {
  readonly #storage: QueueStorage;
  readonly #prefix: string;
  /** What this page has posted: it awaits the answer even if another tab has it first. */
  readonly #promised = new Map<string, Promised>();
  readonly #end = new AbortController();
  #wake = new AbortController();
  #latestMs: number;
  #isSending = false;

  constructor(
    readonly client: Threadkeep,
    readonly options: QueueOptions = {},
  ) {
    this.#storage = options.storage ?? new MemoryStorage();
    this.#prefix = `${options.name ?? "threadkeep"}:`;
    this.#latestMs = parseInt(this.waiting.at(-1)?.key ?? "0", 36);
    globalThis.addEventListener?.("online", this.flush);
    this.flush();
  }

  /** What was not acknowledged yet, in order. */
  get waiting(): QueuedPost[] {
    const found = new Map<string, QueuedPost>();
    for (let place = 0; place < this.#storage.length; place++) {
      const name = this.#storage.key(place) ?? "";
      const text = name.startsWith(this.#prefix) ? this.#storage.getItem(name) : null;
      if (text !== null) found.set(name.slice(this.#prefix.length), JSON.parse(text));
    }
    for (const [key, { post }] of this.#promised) found.set(key, post);
    return [...found.values()].sort((one, other) => (one.key < other.key ? -1 : 1));
  }

  /** Queues a message. Resolves when it is stored, and rejects if the server refuses it. */
  post(threadId: string, message: string | null, options: Post = {}): Promise<AcknowledgedMessage> {
    this.#latestMs = Math.max(this.#latestMs + 1, Date.now());
    const post: QueuedPost = { ...options, key: newKey(this.#latestMs), threadId, message };
    return new Promise((resolve, reject) => {
      // What the storage has no room for is not promised.
      this.#storage.setItem(this.#prefix + post.key, JSON.stringify(post));
      this.#promised.set(post.key, { post, resolve, reject });
      this.flush();
    });
  }

  /** Tries to send at once; the queue does so by itself when the browser is online again. */
  readonly flush = (): void => {
    this.#wake.abort();
    if (!this.#isSending) void this.#sendAll();
  };

  /** Stops sending. What is in the storage stays there. */
  close(): void {
    globalThis.removeEventListener?.("online", this.flush);
    this.#end.abort();
    this.#wake.abort();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    let failures = 0;
    while (!this.#end.signal.aborted) {
      const [next] = this.waiting;
      if (next === undefined) break;
      const error = await this.#send(next);
      failures = error === undefined ? 0 : failures + 1;
      const asked = error instanceof ThreadkeepError ? error.retryAfterMs : 0;
      if (error !== undefined) await this.#pause(asked + pauseMs(failures));
    }
    this.#isSending = false;
  }

  /** Sends a post once. It has left the queue, unless there is an error that passes. */
  async #send(post: QueuedPost): Promise<unknown> {
    const { threadId, message, key, ...options } = post;
    const sending = { ...options, idempotencyKey: key, attempts: 1, signal: this.#end.signal };
    let sent: AcknowledgedMessage;
    try {
      sent = await this.client.postMessage(threadId, message, sending);
    } catch (error) {
      if (!isFinal(error)) return error;
      this.#settle(post)?.reject(error);
      this.options.onRefused?.(error, post);
      return undefined;
    }
    this.#settle(post)?.resolve(sent);
    this.options.onSent?.(sent, post);
    return undefined;
  }

  #settle({ key }: QueuedPost): Promised | undefined {
    const promised = this.#promised.get(key);
    this.#promised.delete(key);
    this.#storage.removeItem(this.#prefix + key);
    return promised;
  }

  /** Waits, unless somebody says before that it is worth a try. */
  async #pause(ms: number): Promise<void> {
    this.#wake = new AbortController();
    await sleep(ms, this.#wake.signal).catch(() => undefined);
  }
}

/** Whether the server will never take it. Who is not signed in may sign in again. */
function isFinal(error: unknown): error is ApiError {
  return error instanceof ApiError && !error.isPassing && error.status !== 401;
}
