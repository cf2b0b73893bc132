// Says when it listens, and prints the messages that it has heard when one says "end".

import { connect, UNKNOWN_EVENT } from "../start.js";

const [transport] = process.argv.slice(2);
const options = { threads: ["t0", "t1", "last"], transport, lastEventId: UNKNOWN_EVENT };
const heard = [];
for await (const event of connect().events(options)) {
  if (event.type === "reset") console.log("listening");
  if (event.type !== "message_received") continue;
  if (event.message.content === "end") break;
  heard.push([event.message.content, event.message.id]);
}
console.log(JSON.stringify(heard));
