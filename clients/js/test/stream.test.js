// Messages that are written piece by piece.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, fresh } from "./start.js";

const TEXT = "It is noon, ☀️ \u{1f600}.";
const client = connect();

test("a message is written in pieces, also in halves of characters", async () => {
  const writer = await client.stream(fresh("t"), { metadata: { model: "m" } });
  for (const unit of TEXT.split("")) await writer.write(unit);
  assert.equal((await writer.finish()).content, TEXT);
  const read = await client.getMessage(writer.message.id);
  assert.deepEqual([read.content, read.role, read.metadata], [TEXT, "assistant", { model: "m" }]);
});

test("who does not wait writes in order all the same", async () => {
  const writer = await client.stream(fresh("t"));
  const numbers = Array.from({ length: 200 }, (_, n) => `${n} `);
  for (const number of numbers) void writer.write(number);
  assert.equal((await writer.finish()).content, numbers.join(""));
});

test("a long text goes in parts", async () => {
  const text = "☀".repeat(20_000);
  const writer = await client.stream(fresh("t"));
  assert.equal((await writer.pipe([text])).content, text);
});

test("the key of an open message continues it", async () => {
  const thread = fresh("t");
  const first = await client.stream(thread, { idempotencyKey: "k" });
  await first.write("It is n");
  const second = await client.stream(thread, { idempotencyKey: "k" });
  assert.equal(second.text, "It is n");
  assert.equal((await second.pipe(["oon."])).content, "It is noon.");
  assert.equal(second.message.id, first.message.id);
});

test("the finish may have another text", async () => {
  const writer = await client.stream(fresh("t"));
  await writer.write("draft");
  const done = await writer.finish({ message: "final", metadata: { a: 1 } });
  assert.deepEqual([done.content, done.metadata], ["final", { a: 1 }]);
});

test("half a character at the end is refused, as every text that cannot be kept", async () => {
  const writer = await client.stream(fresh("t"));
  await writer.write("\ud83d");
  await assert.rejects(writer.finish(), { code: "text_unkeepable" });
});
