// Posts to several threads all the time until its input ends, and prints what was acknowledged.

import { connect } from "../start.js";

const client = connect({ attempts: 60, timeoutMs: 10_000 });
const sent = [];
let isOver = false;
process.stdin.on("end", () => (isOver = true)).resume();

async function write(thread) {
  for (let number = 0; !isOver && number < 10_000; number++) {
    const text = `${thread} ${number}`;
    sent.push([text, (await client.postMessage(thread, text)).id]);
  }
}

await Promise.all(["t0", "t1", "t2", "t3"].map(write));
console.log(JSON.stringify(sent));
