/** What the server answers. A newer server may add members. */

export type Json = Record<string, unknown>;
export type Role = "user" | "assistant" | "agent" | "tool" | "system";
export type Tier = "redis" | "postgresql" | "clickhouse";

/** How far a message that is being written is; `length` is in bytes of UTF-8. */
export interface StreamState {
  state: "open" | "finished" | "interrupted";
  length: number | null;
  text?: string | null;
}

/** A message in its latest version. Times are RFC 3339 in UTC, with microseconds. */
export interface Message {
  id: string;
  thread_id: string;
  user_id: string;
  role: Role;
  content: string;
  metadata: Json;
  created_at: string;
  updated_at: string;
  deleted_at: string | null;
  version: number;
  content_hash: string;
  stream?: StreamState;
}

/** How a write was acknowledged: it is on disk in `tier_used`. */
export interface Acknowledgement {
  tier_used: Tier;
  durability: "fsynced" | "committed" | "archived" | "memory";
  background_persistence: boolean;
  latency_ms: number;
  failover_reason?: string;
  /** A tier is down. */
  warning?: string;
}

export interface AcknowledgedMessage extends Message, Acknowledgement {}

/** Where something was read. */
export interface Retrieval {
  retrieval_source: Tier | "mixed";
  latency_ms: number;
  warning?: string;
}

export interface ReadMessage extends Message, Retrieval {}

export interface FoundMessage extends Message {
  /** [begin, end] in characters (code points) of `content`. */
  highlights: [number, number][];
}

/** One page of a list: `next_cursor` is null at its end. */
export interface Page {
  next_cursor: string | null;
}

export interface MessagePage extends Page, Retrieval {
  messages: Message[];
}

export interface SearchPage extends Page, Retrieval {
  messages: FoundMessage[];
}

export interface WrongField {
  field: string;
  detail: string;
  given?: unknown;
  expected?: string | null;
  allowed?: unknown[] | null;
}

/** What became of one message of a batch: `message` where `status` is 200, else `code`. */
export interface BatchResult {
  status: number;
  message?: Message;
  repeated?: boolean;
  code?: string;
  detail?: string;
  errors?: WrongField[];
}

export interface BatchAnswer extends Acknowledgement {
  results: BatchResult[];
  accepted: number;
  refused: number;
}

export interface AppendedChunk {
  message_id: string;
  /** Of the whole text so far, in bytes of UTF-8. */
  length: number;
  version: number;
}

export interface TierReceipt {
  /** null where the tier does not answer. */
  present: boolean | null;
  copies: {
    version: number;
    content_hash: string;
    intact: boolean;
    deleted: boolean;
    since: string;
  }[];
  pending?: boolean;
}

/** Where a message is, tier by tier. */
export interface Receipt {
  id: string;
  thread_id: string;
  version: number;
  content_hash: string;
  state: "acknowledged" | "persisted" | "archived" | "deleted" | "erased" | "refused";
  deleted: boolean;
  tiers: Record<string, TierReceipt>;
  is_streaming?: boolean;
}

export interface Thread {
  id: string;
  user_id: string;
  title: string | null;
  metadata: Json;
  created_at: string;
  last_message_at: string | null;
  message_count: number;
  last_message_preview: string | null;
  is_pinned: boolean;
  is_archived: boolean;
}

export interface ThreadPage extends Page, Retrieval {
  threads: Thread[];
}

interface StateFields {
  state: Json;
  version: number;
  updated_at: string;
  /** null where it lasts. */
  expires_at: string | null;
}

export interface State extends StateFields, Retrieval {}

export interface SavedState extends StateFields, Acknowledgement {
  /** The tiers that have it. */
  tiers: Tier[];
}

export type CheckpointLevel = "auto" | "critical" | "full";

export interface RunState extends State {
  run_id: string;
}

export interface SavedRunState extends SavedState {
  run_id: string;
  checkpoint: CheckpointLevel;
}

export interface Checkpoint {
  version: number;
  checkpoint: CheckpointLevel;
  created_at: string;
  size_bytes: number;
}

export interface CheckpointPage extends Page {
  checkpoints: Checkpoint[];
}

export interface WholeCheckpoint {
  version: number;
  checkpoint: CheckpointLevel;
  created_at: string;
  state: Json;
}

/** What opens one event stream or socket, once, within `expires_in` seconds. */
export interface Ticket {
  ticket: string;
  expires_in: number;
}

export interface ServiceInfo {
  version: string;
  ws_url: string;
  events_url: string;
  docs_url: string;
}

/** A thread's own data after a change; `deleted_at` is set while it is deleted. */
export interface ChangedThread {
  version: number;
  id: string;
  user_id: string;
  title: string | null;
  metadata: Json;
  created_at: string;
  updated_at: string;
  deleted_at: string | null;
  is_pinned: boolean;
  is_archived: boolean;
}

/** What happened. `type` says which members there are; docs/realtime.md has all of them. */
export interface Event {
  type:
    | "message_received"
    | "message_persisted"
    | "message_updated"
    | "message_deleted"
    | "message_chunk"
    | "thread_updated"
    /** Events were lost: read the lists again. */
    | "reset";
  /** What to continue from. */
  event_id: string;
  message_id?: string;
  thread_id?: string;
  version?: number;
  message?: Message;
  thread?: ChangedThread;
  text?: string;
  /** Where `text` begins, in bytes of UTF-8. */
  offset?: number;
  detail?: string;
  timestamp?: string;
}
