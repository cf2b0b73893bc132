// Writes a message in pieces for two seconds, says its id at the beginning and at the end.

import { connect } from "../start.js";

const writer = await connect({ attempts: 60, timeoutMs: 10_000 }).stream("t");
console.log(writer.message.id);
for (let number = 0; number < 40; number++) {
  await writer.write(`piece ${number} ☀ `);
  await new Promise((resolve) => setTimeout(resolve, 50));
}
await writer.finish();
