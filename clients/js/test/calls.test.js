// Every call, against a real stack.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError } from "../dist/index.js";
import { all, connect, fresh, token, url } from "./start.js";

const client = connect();

function refused(code, status) {
  return (error) => error instanceof ApiError && error.code === code && error.status === status;
}

test("messages", async () => {
  const thread = fresh("t");
  const options = { role: "agent", metadata: { lang: "en" }, durability: "committed" };
  const sent = await client.postMessage(thread, "hello", options);
  assert.equal(sent.tier_used, "redis");
  assert.equal(sent.durability, "committed");
  assert.deepEqual((await client.getMessage(sent.id)).metadata, { lang: "en" });
  const edited = await client.editMessage(sent.id, { message: "changed" }, { version: 1 });
  assert.equal(edited.version, 2);
  const conflict = client.editMessage(sent.id, { metadata: {} }, { version: 1 });
  await assert.rejects(conflict, (error) => error.currentVersion === 2);
  assert.ok((await client.getReceipt(sent.id)).tiers.redis.present);
  await client.deleteMessage(sent.id, { version: 2 });
  await assert.rejects(client.getMessage(sent.id), refused("not_found", 404));
});

test("the same key is the same message", async () => {
  const thread = fresh("t");
  const key = { idempotencyKey: "k" };
  const first = await client.postMessage(thread, "once", key);
  assert.equal((await client.postMessage(thread, "once", key)).id, first.id);
  const reused = client.postMessage(thread, "twice", key);
  await assert.rejects(reused, refused("idempotency_key_reused", 422));
  assert.equal((await all(client.messages(thread))).length, 1);
});

test("lists are walked through", async () => {
  const thread = fresh("t");
  const word = fresh("walk").replace("-", "");
  const texts = [0, 1, 2, 3, 4].map((n) => `${word} ${n}`);
  const done = await client.postBatch(texts.map((message) => ({ thread_id: thread, message })));
  assert.equal(done.accepted, 5);
  const walked = await all(client.messages(thread, { order: "asc", limit: 2 }));
  assert.deepEqual(walked.map((one) => one.content), texts);
  const page = await client.listMessages(thread, { limit: 3 });
  const rest = await client.listMessages(thread, { limit: 3, cursor: page.next_cursor });
  assert.deepEqual([page.messages.length, rest.messages.length, rest.next_cursor], [3, 2, null]);
  assert.ok((await all(client.threads({ limit: 1 }))).some((one) => one.id === thread));
  let found = [];
  for (let times = 0; found.length < 5 && times < 100; times++) {
    found = await all(client.search(word, { thread_id: thread, limit: 2 }));
  }
  assert.equal(found.length, 5);
  assert.ok((await client.searchMessages(word, { role: "user" })).messages[0].highlights.length);
});

test("threads", async () => {
  const id = fresh("plans");
  assert.equal((await client.createThread({ id, title: "Plans" })).title, "Plans");
  await assert.rejects(client.createThread({ id }), refused("thread_exists", 409));
  assert.ok((await client.changeThread(id, { title: null, is_pinned: true })).is_pinned);
  assert.equal((await client.listThreads({ is_pinned: true })).threads[0].id, id);
  assert.equal((await client.getThread(id)).title, null);
  await client.deleteThread(id);
  await assert.rejects(client.getThread(id), refused("not_found", 404));
  assert.equal((await client.createThread()).message_count, 0);
});

test("sessions", async () => {
  const saved = await client.putSession({ theme: "dark", open: 1 }, { ttl_seconds: null });
  assert.equal(saved.expires_at, null);
  await client.patchSession({ open: null }, { version: saved.version });
  assert.deepEqual((await client.getSession()).state, { theme: "dark" });
  const old = client.putSession({}, { version: saved.version });
  await assert.rejects(old, refused("version_conflict", 409));
  await client.deleteSession();
  await assert.rejects(client.getSession(), refused("not_found", 404));
});

test("runs", async () => {
  const run = fresh("r");
  const { version } = await client.putRunState(run, { step: 1 }, { checkpoint: "critical" });
  await client.putRunState(run, { step: 2 }, { version, ttl_seconds: 60 });
  assert.deepEqual((await client.getRunState(run)).state, { step: 2 });
  assert.deepEqual((await all(client.checkpoints(run))).map((one) => one.version), [version]);
  assert.equal((await client.listCheckpoints(run)).checkpoints[0].checkpoint, "critical");
  assert.deepEqual((await client.getCheckpoint(run, version)).state, { step: 1 });
  assert.deepEqual((await client.restoreCheckpoint(run, version)).state, { step: 1 });
  await client.deleteRunState(run);
  await assert.rejects(client.getRunState(run), refused("not_found", 404));
});

test("what is wrong is said", async () => {
  const wrong = client.postMessage(fresh("t"), "x", { role: "robot" });
  await assert.rejects(wrong, (error) => {
    assert.equal(error.errors[0].field, "$.role");
    assert.ok(error.requestId);
    return refused("invalid_body", 422)(error);
  });
});

test("a refused token is renewed once", async () => {
  const given = ["old", token, "never asked for"];
  const renewing = connect({ token: async () => given.shift() });
  assert.equal((await renewing.postMessage(fresh("t"), "hello")).content, "hello");
  assert.deepEqual(given, ["never asked for"]);
  const bad = connect({ token: () => "always bad" }).getSession();
  await assert.rejects(bad, refused("invalid_token", 401));
});

test("a key acts for a user", async () => {
  const agent = connect({ token: process.env.API_KEY });
  const sent = await agent.onBehalfOf("zoë %").postMessage(fresh("t"), "for you");
  assert.equal(sent.user_id, "zoë %");
});

test("a call ends with its signal", async () => {
  const nowhere = connect({ url: "http://127.0.0.1:1" });
  const call = nowhere.getSession({ signal: AbortSignal.timeout(100) });
  await assert.rejects(call, { name: "TimeoutError" });
  await assert.rejects(nowhere.getSession({ attempts: 2 }), { isPassing: true });
});

test("the server says where it is", async () => {
  assert.ok((await client.getServiceInfo()).ws_url.startsWith("ws"));
  assert.equal((await client.createTicket()).expires_in, 30);
  assert.ok(url);
});
