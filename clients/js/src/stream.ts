/** A message that is written piece by piece. */

import type { AcknowledgedMessage, AppendedChunk, Json, Message } from "./answers.js";
import type { Connection } from "./connection.js";
import { isCode, ThreadkeepError } from "./errors.js";
import { pauseMs } from "./pauses.js";

const MOST_CHUNK_BYTES = 32 * 1024;

/**
 * Keeps the whole text until it is finished, so that nothing is lost with a chunk. A chunk that
 * cannot be delivered now holds nobody up: its text goes with the next one, or with the finish.
 * A writer that is left unfinished is finished by the server, and marked as interrupted.
 */
export class StreamWriter {
  #text: string;
  #bytes: Uint8Array;
  /** How much of it the server has. */
  #sent: number;
  #takesChunks = true;
  #sending: Promise<void> | undefined;
  #failures = 0;
  #resumeAtMs = 0;
  readonly #connection: Connection;
  readonly #path: string;

  constructor(
    connection: Connection,
    readonly message: Message,
    text: string,
  ) {
    this.#connection = connection;
    this.#text = text;
    this.#bytes = encode(text);
    this.#sent = this.#bytes.length;
    this.#path = `/api/messages/${message.id}`;
  }

  /** What was written so far; of a message that its key had opened before, all of it. */
  get text(): string {
    return this.#text;
  }

  /** Appends text, which listeners receive at once. Rejects if the server refuses it for good. */
  write(text: string): Promise<void> {
    this.#text += text;
    this.#bytes = encode(this.#text);
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  /** Writes all that comes, and finishes. */
  async pipe(source: AsyncIterable<string> | Iterable<string>): Promise<AcknowledgedMessage> {
    for await (const text of source) await this.write(text);
    return this.finish();
  }

  /** Finishes the message with the text, or with `message` in its place. */
  async finish(end: { message?: string; metadata?: Json } = {}): Promise<AcknowledgedMessage> {
    await this.#sending;
    const isWhole = this.#sent === encode(this.#text, true).length;
    try {
      return await this.#finish(isWhole ? end : { message: this.#text, ...end });
    } catch (error) {
      if (end.message !== undefined || !isCode(error, "offset_mismatch")) throw error;
      // The server has lost some of it.
      return this.#finish({ message: this.#text, ...end });
    }
  }

  #finish(body: { message?: string; metadata?: Json }): Promise<AcknowledgedMessage> {
    return this.#connection.call({ method: "POST", path: `${this.#path}/finish`, body });
  }

  async #send(): Promise<void> {
    if (performance.now() < this.#resumeAtMs) return;
    try {
      while (this.#takesChunks && this.#sent < this.#bytes.length) {
        this.#sent = await this.#sendNext();
        this.#failures = 0;
      }
    } catch (error) {
      if (isCode(error, "stream_interrupted")) {
        // Such a message still takes its whole text.
        this.#takesChunks = false;
      } else if (error instanceof ThreadkeepError && error.isPassing) {
        this.#resumeAtMs = performance.now() + error.retryAfterMs + pauseMs(this.#failures++);
      } else {
        throw error;
      }
    }
  }

  /** Sends the next part once; how long the text is at the server afterwards. */
  async #sendNext(): Promise<number> {
    const offset = this.#sent;
    const end = wholeCharacters(this.#bytes, offset + MOST_CHUNK_BYTES);
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(
      this.#bytes.subarray(offset, end),
    );
    const request = { method: "POST", path: `${this.#path}/chunks`, body: { text, offset } };
    try {
      return (await this.#connection.call<AppendedChunk>({ ...request, attempts: 1 })).length;
    } catch (error) {
      const length = isCode(error, "offset_mismatch") ? error.length : undefined;
      // Beyond the text somebody else writes it too.
      if (length === undefined || length === offset || length > this.#bytes.length) throw error;
      return length;
    }
  }
}

/** The text in UTF-8; but half a character at its end waits for the other half, unless `all`. */
function encode(text: string, all = false): Uint8Array {
  const isCut = !all && /[\ud800-\udbff]$/.test(text);
  return new TextEncoder().encode(isCut ? text.slice(0, -1) : text);
}

/** The last place up to `end` where a character ends. */
function wholeCharacters(bytes: Uint8Array, end: number): number {
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return end;
}
