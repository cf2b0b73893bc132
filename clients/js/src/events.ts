/** Events over as many connections as it takes: each continues after the last event. */

import type { Event } from "./answers.js";
import { type Connection, failureOf } from "./connection.js";
import { streamFrames } from "./event_stream.js";
import { pauseMs, sleep } from "./pauses.js";
import type { CallOptions } from "./requests.js";
import { socketFrames } from "./socket.js";

export interface EventOptions extends Pick<CallOptions, "signal"> {
  /** Only these threads; all of the user's if left out. */
  threads?: string[];
  /** What to continue after, such as the `event_id` of an event. */
  lastEventId?: string;
  /** A WebSocket where there is one, else an event stream over `fetch`. */
  transport?: "socket" | "stream";
}

/** What a connection brings. The first one is `opening`, with the id that it begins at. */
export interface Frame {
  type: string;
  event_id?: string | undefined;
}

export interface Place {
  threads: string[] | undefined;
  lastEventId: string | undefined;
  signal: AbortSignal | undefined;
}

const KINDS = [
  "message_received",
  "message_persisted",
  "message_updated",
  "message_deleted",
  "message_chunk",
  "thread_updated",
  "reset",
];

export async function* events(
  connection: Connection,
  { threads, lastEventId, signal, transport }: EventOptions,
): AsyncGenerator<Event, void, undefined> {
  const usual = "WebSocket" in globalThis ? "socket" : "stream";
  const frames = (transport ?? usual) === "socket" ? socketFrames : streamFrames;
  for (let failures = 0; !signal?.aborted; failures++) {
    try {
      for await (const frame of frames(connection, { threads, lastEventId, signal })) {
        lastEventId = frame.event_id ?? lastEventId;
        if (frame.type !== "opening") failures = 0;
        if (KINDS.includes(frame.type)) yield frame as Event;
      }
      await sleep(pauseMs(failures), signal);
    } catch (error) {
      if (signal?.aborted) return;
      const failure = failureOf(error);
      if (!failure.isPassing) throw failure;
      await sleep(pauseMs(failures), signal).catch(() => undefined);
    }
  }
}
