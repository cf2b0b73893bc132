// Posts that wait for the network.

import assert from "node:assert/strict";
import { test } from "node:test";

import { OfflineQueue } from "../dist/index.js";
import { all, connect, fresh } from "./start.js";

/** A `localStorage` for Node. */
class Storage {
  entries = {};
  get length() {
    return Object.keys(this.entries).length;
  }
  key = (place) => Object.keys(this.entries)[place] ?? null;
  getItem = (name) => this.entries[name] ?? null;
  setItem = (name, value) => void (this.entries[name] = value);
  removeItem = (name) => void delete this.entries[name];
}

const client = connect();
const nowhere = connect({ url: "http://127.0.0.1:1" });

async function contents(thread) {
  return (await all(client.messages(thread, { order: "asc" }))).map((one) => one.content);
}

test("posts are sent in order", async () => {
  const thread = fresh("t");
  const queue = new OfflineQueue(client);
  const sent = await Promise.all(["a", "b", "c"].map((text) => queue.post(thread, text)));
  assert.deepEqual(sent.map((one) => one.content), ["a", "b", "c"]);
  assert.deepEqual(await contents(thread), ["a", "b", "c"]);
  assert.deepEqual(queue.waiting, []);
  queue.close();
});

test("what was posted offline is sent after a reload, each once", async () => {
  const thread = fresh("t");
  const storage = new Storage();
  const before = new OfflineQueue(nowhere, { storage });
  for (const text of ["a", "b"]) void before.post(thread, text, { role: "agent" });
  await new Promise((resolve) => setTimeout(resolve, 300));
  before.close();
  assert.deepEqual(before.waiting.map((one) => one.message), ["a", "b"]);
  // Two tabs are open then.
  const tabs = [0, 1].map(() => new OfflineQueue(client, { storage }));
  await Promise.all(tabs.map((queue, n) => queue.post(thread, `from tab ${n}`)));
  tabs.forEach((queue) => queue.close());
  const stored = await contents(thread);
  assert.deepEqual(stored.slice(0, 2), ["a", "b"]);
  assert.deepEqual(stored.slice(2).sort(), ["from tab 0", "from tab 1"]);
  assert.equal(storage.length, 0);
});

test("a refused post holds nobody up", async () => {
  const thread = fresh("t");
  const refused = [];
  const onRefused = (error, post) => refused.push([error.code, post.message]);
  const queue = new OfflineQueue(client, { onRefused });
  const bad = queue.post(thread, "x", { metadata: { "threadkeep.stream": "no" } });
  const good = queue.post(thread, "y");
  await assert.rejects(bad, { code: "metadata_reserved" });
  assert.equal((await good).content, "y");
  assert.deepEqual(refused, [["metadata_reserved", "x"]]);
  queue.close();
});

test("who is signed out keeps the posts until there is a token", async () => {
  const thread = fresh("t");
  let token = "expired";
  const queue = new OfflineQueue(connect({ token: () => token }));
  const sent = queue.post(thread, "later");
  await new Promise((resolve) => setTimeout(resolve, 300));
  token = process.env.API_TOKEN;
  queue.flush();
  assert.equal((await sent).content, "later");
  queue.close();
});
