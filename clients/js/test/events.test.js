// Events, over a WebSocket and over an event stream.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, fresh, UNKNOWN_EVENT } from "./start.js";

const client = connect();
const transports = "WebSocket" in globalThis ? ["socket", "stream"] : ["stream"];

async function take(events, count) {
  const found = [];
  while (found.length < count) found.push((await events.next()).value);
  return found;
}

for (const transport of transports) {
  test(`several threads are heard and continued by ${transport}`, async () => {
    const threads = [fresh("t"), fresh("u")];
    const events = client.events({ threads, transport, lastEventId: UNKNOWN_EVENT });
    assert.equal((await events.next()).value.type, "reset");
    await client.postMessage(fresh("other"), "not this");
    for (const thread of threads) await client.postMessage(thread, thread);
    const writer = await client.stream(threads[0]);
    await writer.write("It is ");
    await writer.finish();
    await client.changeThread(threads[1], { title: "U" });
    const heard = await take(events, 8);
    await events.return();
    const received = heard.filter((one) => one.type === "message_received");
    assert.deepEqual(received.slice(0, 2).map((one) => one.message.content), threads);
    assert.ok(heard.every((one) => threads.includes(one.thread_id)));
    assert.ok(heard.some((one) => one.type === "message_chunk" && one.text === "It is "));
    const later = client.events({ threads, transport, lastEventId: heard[0].event_id });
    assert.deepEqual(await take(later, 7), heard.slice(1));
    await later.return();
  });

  test(`the signal ends ${transport}`, async () => {
    const threads = [fresh("t")];
    const signal = AbortSignal.timeout(500);
    const events = client.events({ transport, threads, signal, lastEventId: UNKNOWN_EVENT });
    assert.equal((await events.next()).value.type, "reset");
    assert.deepEqual(await events.next(), { done: true, value: undefined });
  });

  test(`who may not listen is told by ${transport}`, async () => {
    const stranger = connect({ token: "nonsense" }).events({ transport });
    await assert.rejects(stranger.next(), { code: "invalid_token" });
    const events = client.events({ transport, threads: ["no/thread"] });
    await assert.rejects(events.next(), { code: "thread_id_invalid" });
  });
}
