// Posts a message and reads it back, by types that were generated from the description.

import createClient from "openapi-fetch";

import type { components, paths } from "./schema";

declare const process: { env: Record<string, string>; exitCode?: number };

// What the server would refuse does not compile.
type Post = components["schemas"]["PostMessage"];
// @ts-expect-error: a role that is not known.
export const robot: Post = { message: "hello", role: "robot" };
// @ts-expect-error: a misspelt member.
export const misspelt: Post = { mesage: "hello" };

const client = createClient<paths>({
  baseUrl: process.env.API_URL,
  headers: { Authorization: `Bearer ${process.env.API_TOKEN}` },
});

async function main(): Promise<void> {
  const sent = await client.POST("/api/threads/{thread_id}/messages", {
    params: { path: { thread_id: "typescript" }, header: { "Idempotency-Key": "once" } },
    body: { message: "from TypeScript", metadata: { tags: ["a", "b"] } },
  });
  if (sent.error) {
    throw new Error(sent.error.detail);
  }
  const tier: "redis" | "postgresql" | "clickhouse" = sent.data.tier_used;
  const path = { message_id: sent.data.id };
  const read = await client.GET("/api/messages/{message_id}", { params: { path } });
  if (read.error) {
    throw new Error(read.error.detail);
  }
  console.log(JSON.stringify({ tier, content: read.data.content, metadata: read.data.metadata }));
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
