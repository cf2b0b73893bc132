/** Events as server-sent events, read by `fetch`, which can send a token as an `EventSource` cannot. */

import type { ServiceInfo } from "./answers.js";
import type { Connection } from "./connection.js";
import type { Frame, Place } from "./events.js";

/** The server says something every 15 s. */
const SILENCE_MS = 45_000;

export async function* streamFrames(
  connection: Connection,
  { threads = [], lastEventId, signal }: Place,
): AsyncGenerator<Frame, void, undefined> {
  const service: ServiceInfo = await connection.call({ method: "GET", path: "/api", signal });
  const address = new URL(service.events_url);
  for (const thread of threads) address.searchParams.append("thread_id", thread);
  const silence = new Silence(signal);
  try {
    const reply = await connection.send({
      method: "GET",
      path: address.href,
      headers: lastEventId === undefined ? {} : { "Last-Event-ID": lastEventId },
      signal: silence.signal,
    });
    let type = "opening";
    for await (const block of blocks(reply.body!.getReader(), silence)) {
      yield frameOf(block, type);
      type = "comment";
    }
  } finally {
    silence.end();
  }
}

/** Ends a request that brings nothing for long, or whose caller has gone. */
class Silence {
  readonly #controller = new AbortController();
  readonly signal = this.#controller.signal;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly callers: AbortSignal | undefined) {
    callers?.addEventListener("abort", this.end, { once: true });
    this.broken();
  }

  broken(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.end, SILENCE_MS);
  }

  readonly end = (): void => {
    clearTimeout(this.#timer);
    this.callers?.removeEventListener("abort", this.end);
    this.#controller.abort();
  };
}

/** What stands between empty lines. */
async function* blocks(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  silence: Silence,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    silence.broken();
    const found = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = found.pop() ?? "";
    yield* found;
  }
}

/** The event of a block; of one that is none, a frame of this type. */
function frameOf(block: string, type: string): Frame {
  const field = (name: string) =>
    block.split("\n").find((line) => line.startsWith(name))?.slice(name.length);
  const data = field("data: ");
  return data === undefined ? { type, event_id: field("id: ") } : JSON.parse(data);
}
