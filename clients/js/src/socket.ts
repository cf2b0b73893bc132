/** Events over a WebSocket, which a ticket opens. */

import type { ServiceInfo, Ticket } from "./answers.js";
import type { Connection } from "./connection.js";
import { ApiError, ConnectionLost } from "./errors.js";
import type { Frame, Place } from "./events.js";

/** Without an answer for so long the connection counts as lost. */
const PING_MS = 20_000;

interface Incoming extends Frame {
  code?: string;
  detail?: string;
  retry_after?: number;
}

export async function* socketFrames(
  connection: Connection,
  { threads, lastEventId, signal }: Place,
): AsyncGenerator<Frame, void, undefined> {
  const service: ServiceInfo = await connection.call({ method: "GET", path: "/api", signal });
  const ticket: Ticket = await connection.call({ method: "POST", path: "/api/tickets", signal });
  const address = new URL(service.ws_url);
  address.searchParams.set("ticket", ticket.ticket);
  const socket = new WebSocket(address);
  try {
    let isSubscribed = false;
    for await (const frame of received(socket, signal)) {
      if (frame.type === "error") {
        throw refusal(frame);
      } else if (frame.type === "authenticated") {
        // What came before the answer to this comes again after it.
        lastEventId ??= frame.event_id;
        const subscribe = { type: "subscribe", thread_ids: threads, last_event_id: lastEventId };
        socket.send(JSON.stringify(subscribe));
      } else if (frame.type === "subscribed") {
        isSubscribed = true;
        yield { type: "opening", event_id: lastEventId };
      } else if (isSubscribed) {
        yield frame;
      }
    }
  } finally {
    socket.close();
  }
}

/** The frames as they arrive. Throws `ConnectionLost` when no more can. */
async function* received(
  socket: WebSocket,
  signal: AbortSignal | undefined,
): AsyncGenerator<Incoming, void, undefined> {
  const waiting: Incoming[] = [];
  let lost: ConnectionLost | undefined;
  let isQuiet = false;
  let wake = () => {};
  const end = (reason: string) => {
    lost ??= new ConnectionLost(reason);
    wake();
  };
  const abort = () => end("aborted");
  socket.onmessage = ({ data }) => {
    isQuiet = false;
    waiting.push(JSON.parse(data));
    wake();
  };
  socket.onclose = ({ code, reason }) => end(`the socket closed: ${code} ${reason}`);
  socket.onerror = () => end("the socket failed");
  signal?.addEventListener("abort", abort, { once: true });
  const heartbeat = setInterval(() => {
    if (isQuiet) end("the socket is silent");
    isQuiet = true;
    if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"ping"}');
  }, PING_MS);
  try {
    for (;;) {
      while (waiting.length > 0) yield waiting.shift()!;
      if (lost !== undefined) throw lost;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    clearInterval(heartbeat);
    signal?.removeEventListener("abort", abort);
  }
}

/** An `error` frame: it passes if it says when to come back. */
function refusal({ code = "", detail = "", retry_after }: Incoming): Error {
  const text = `${code}: ${detail}`;
  if (retry_after !== undefined) return new ConnectionLost(text);
  return new ApiError(400, { code, detail }, 0);
}
