/** The client. */

import type * as answers from "./answers.js";
import { Connection, keyed, newKey, type Request } from "./connection.js";
import { isCode } from "./errors.js";
import { type EventOptions, events } from "./events.js";
import type { Options } from "./options.js";
import { walk } from "./pages.js";
import type * as requests from "./requests.js";
import { StreamWriter } from "./stream.js";

type Rest = Omit<Request, "method" | "path">;

/**
 * A client of a server. `list…` gives one page of a list; `messages`, `threads`, `search` and
 * `checkpoints` go through all of them with `for await`.
 */
export class Threadkeep {
  readonly #connection: Connection;

  constructor(options: Options) {
    this.#connection = new Connection(options);
  }

  /** A client that acts for a user, which the API key must allow. */
  onBehalfOf(userId: string): Threadkeep {
    return new Threadkeep({ ...this.#connection.options, onBehalfOf: userId });
  }

  /** Posts a message: when this resolves it is on disk, once however often it was sent. */
  postMessage(
    threadId: string,
    message: string | null,
    options: requests.PostOptions = {},
  ): Promise<answers.AcknowledgedMessage> {
    const { role, metadata, durability } = options;
    const body = { message, role, metadata, durability };
    const rest = { ...sending(options), body, headers: keyed(options) };
    return this.#call("POST", path("threads", threadId, "messages"), rest);
  }

  /** Posts up to 1000 messages with one acknowledgement; each has a result of its own. */
  postBatch(
    messages: requests.BatchItem[],
    options: requests.Keyed & requests.CallOptions = {},
  ): Promise<answers.BatchAnswer> {
    const rest = { ...sending(options), body: { messages }, headers: keyed(options) };
    return this.#call("POST", "/api/messages:batch", rest);
  }

  /** Opens a message that is written piece by piece. */
  async stream(
    threadId: string,
    options: requests.StreamOptions = {},
  ): Promise<StreamWriter> {
    const { role = "assistant", metadata } = options;
    const rest = { ...sending(options), body: { role, metadata }, headers: keyed(options) };
    const address = `${path("threads", threadId)}/messages:stream`;
    const opened = await this.#call<answers.AcknowledgedMessage>("POST", address, rest);
    // One that its key has opened before goes on where its text ends.
    const known = opened.stream?.length ? await this.getMessage(opened.id) : opened;
    return new StreamWriter(this.#connection, known, known.stream?.text ?? known.content);
  }

  getMessage(messageId: string, options: requests.CallOptions = {}): Promise<answers.ReadMessage> {
    return this.#call("GET", path("messages", messageId), options);
  }

  /** Where a message is, tier by tier. */
  getReceipt(messageId: string, options: requests.CallOptions = {}): Promise<answers.Receipt> {
    return this.#call("GET", path("messages", messageId, "receipt"), options);
  }

  editMessage(
    messageId: string,
    change: requests.MessageChange,
    options: requests.Versioned = {},
  ): Promise<answers.AcknowledgedMessage> {
    const rest = { body: change, ...conditional(options) };
    return this.#call("PATCH", path("messages", messageId), rest);
  }

  async deleteMessage(messageId: string, options: requests.Versioned = {}): Promise<void> {
    await this.#call("DELETE", path("messages", messageId), conditional(options));
  }

  listMessages(
    threadId: string,
    options: requests.MessageListing = {},
  ): Promise<answers.MessagePage> {
    return this.#call("GET", path("threads", threadId, "messages"), listed(options));
  }

  messages(
    threadId: string,
    options: requests.MessageListing = {},
  ): AsyncGenerator<answers.Message, void, undefined> {
    return walk(options, (one) => this.listMessages(threadId, one), (page) => page.messages);
  }

  searchMessages(q: string, options: requests.SearchListing = {}): Promise<answers.SearchPage> {
    return this.#call("GET", path("search"), listed({ q, ...options }));
  }

  /** Messages with these words, of all threads or one. */
  search(
    q: string,
    options: requests.SearchListing = {},
  ): AsyncGenerator<answers.FoundMessage, void, undefined> {
    return walk(options, (one) => this.searchMessages(q, one), (page) => page.messages);
  }

  async createThread(
    thread: requests.NewThread = {},
    options: requests.CallOptions = {},
  ): Promise<answers.Thread> {
    const { id = newKey(), ...rest } = thread;
    try {
      return await this.#call("POST", path("threads"), { body: { id, ...rest }, ...options });
    } catch (error) {
      // A thread of a random id is this one, whose answer was lost.
      if (thread.id === undefined && isCode(error, "thread_exists")) return this.getThread(id);
      throw error;
    }
  }

  getThread(threadId: string, options: requests.CallOptions = {}): Promise<answers.Thread> {
    return this.#call("GET", path("threads", threadId), options);
  }

  changeThread(
    threadId: string,
    change: requests.ThreadChange,
    options: requests.CallOptions = {},
  ): Promise<answers.Thread> {
    return this.#call("PATCH", path("threads", threadId), { body: change, ...options });
  }

  /** Deletes a thread with all its messages. */
  async deleteThread(threadId: string, options: requests.CallOptions = {}): Promise<void> {
    await this.#call("DELETE", path("threads", threadId), options);
  }

  listThreads(options: requests.ThreadListing = {}): Promise<answers.ThreadPage> {
    return this.#call("GET", path("threads"), listed(options));
  }

  /** The user's threads, those with the newest message first. */
  threads(
    options: requests.ThreadListing = {},
  ): AsyncGenerator<answers.Thread, void, undefined> {
    return walk(options, (one) => this.listThreads(one), (page) => page.threads);
  }

  getSession(options: requests.CallOptions = {}): Promise<answers.State> {
    return this.#call("GET", path("session"), options);
  }

  putSession(
    state: answers.Json,
    options: requests.StateOptions = {},
  ): Promise<answers.SavedState> {
    return this.#call("PUT", path("session"), stated(state, options));
  }

  /** Merges into the session (RFC 7396): a member that is null is removed. */
  patchSession(
    state: answers.Json,
    options: requests.StateOptions = {},
  ): Promise<answers.SavedState> {
    return this.#call("PATCH", path("session"), stated(state, options));
  }

  async deleteSession(options: requests.Versioned = {}): Promise<void> {
    await this.#call("DELETE", path("session"), conditional(options));
  }

  getRunState(runId: string, options: requests.CallOptions = {}): Promise<answers.RunState> {
    return this.#call("GET", path("runs", runId, "state"), options);
  }

  putRunState(
    runId: string,
    state: answers.Json,
    options: requests.RunStateOptions = {},
  ): Promise<answers.SavedRunState> {
    return this.#call("PUT", path("runs", runId, "state"), stated(state, options));
  }

  /** Deletes the state of a run, with its checkpoints. */
  async deleteRunState(runId: string, options: requests.Versioned = {}): Promise<void> {
    await this.#call("DELETE", path("runs", runId, "state"), conditional(options));
  }

  listCheckpoints(
    runId: string,
    options: requests.Listing = {},
  ): Promise<answers.CheckpointPage> {
    return this.#call("GET", path("runs", runId, "checkpoints"), listed(options));
  }

  checkpoints(
    runId: string,
    options: requests.Listing = {},
  ): AsyncGenerator<answers.Checkpoint, void, undefined> {
    return walk(options, (one) => this.listCheckpoints(runId, one), (page) => page.checkpoints);
  }

  getCheckpoint(
    runId: string,
    version: number,
    options: requests.CallOptions = {},
  ): Promise<answers.WholeCheckpoint> {
    return this.#call("GET", path("runs", runId, "checkpoints", String(version)), options);
  }

  /** Makes a checkpoint the newest version of the state. */
  restoreCheckpoint(
    runId: string,
    version: number,
    options: requests.CallOptions = {},
  ): Promise<answers.SavedRunState> {
    const address = path("runs", runId, "checkpoints", String(version), "restore");
    return this.#call("POST", address, options);
  }

  createTicket(options: requests.CallOptions = {}): Promise<answers.Ticket> {
    return this.#call("POST", path("tickets"), options);
  }

  getServiceInfo(options: requests.CallOptions = {}): Promise<answers.ServiceInfo> {
    return this.#call("GET", "/api", options);
  }

  /**
   * What happens from now on, each event once, with `for await`. It comes back after a lost
   * connection and continues after the last event. It ends with `options.signal`.
   */
  events(options: EventOptions = {}): AsyncGenerator<answers.Event, void, undefined> {
    return events(this.#connection, options);
  }

  #call<Answer>(method: string, address: string, rest: Rest = {}): Promise<Answer> {
    return this.#connection.call({ ...rest, method, path: address });
  }
}

/** An address below `/api`, its parts escaped. */
function path(...parts: string[]): string {
  return ["/api", ...parts.map(encodeURIComponent)].join("/");
}

function sending({ signal, attempts }: requests.CallOptions): Rest {
  return { signal, attempts };
}

function listed<Each extends requests.CallOptions>(options: Each): Rest {
  const { signal, attempts, ...query } = options;
  return { query, signal, attempts };
}

function stated(state: answers.Json, options: requests.RunStateOptions): Rest {
  const { signal, attempts, ...rest } = options;
  return { body: { state, ...rest }, signal, attempts };
}

function conditional({ version, ...options }: requests.Versioned): Rest {
  return { headers: version === undefined ? {} : { "If-Match": `"${version}"` }, ...options };
}
