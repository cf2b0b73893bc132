/** Client of Threadkeep, the open message store for chat and agent applications. */

export { Threadkeep } from "./client.js";
export type { Options, Token } from "./options.js";
export { ApiError, ConnectionLost, ThreadkeepError } from "./errors.js";
export { OfflineQueue } from "./queue.js";
export type { QueuedPost, QueueOptions, QueueStorage } from "./queue.js";
export type { EventOptions } from "./events.js";
export { StreamWriter } from "./stream.js";
export type * from "./answers.js";
export type * from "./requests.js";
