/** What calls take. */

import type { CheckpointLevel, Json, Role } from "./answers.js";

/** What every call takes. */
export interface CallOptions {
  /** Ends the call, its retries and its pauses. */
  signal?: AbortSignal;
  /** How often it is sent at most; as the client is set if left out. */
  attempts?: number;
}

/** The key that makes one message of all repeats; a new one where it is left out. */
export interface Keyed {
  idempotencyKey?: string;
}

export interface Post {
  role?: Role;
  metadata?: Json;
}

export interface PostOptions extends Post, Keyed, CallOptions {
  /** `committed` waits up to 5 s for PostgreSQL. */
  durability?: "fsynced" | "committed";
}

export interface StreamOptions extends Post, Keyed, CallOptions {}

export interface BatchItem extends Post {
  thread_id: string;
  message: string | null;
  idempotency_key?: string;
}

export interface MessageChange {
  message?: string | null;
  metadata?: Json;
}

/** A write that replaces this version alone; an error with `current_version` if it is another. */
export interface Versioned extends CallOptions {
  version?: number;
}

/** A page of a list, of `limit` items: 1 to 1000, 50 if left out. */
export interface Listing extends CallOptions {
  limit?: number;
  cursor?: string;
}

export interface MessageListing extends Listing {
  /** Newest first, unless `asc`. */
  order?: "asc" | "desc";
}

export interface SearchListing extends Listing {
  thread_id?: string;
  role?: Role;
  /** RFC 3339. */
  since?: string;
  until?: string;
}

export interface ThreadListing extends Listing {
  is_archived?: boolean;
  is_pinned?: boolean;
}

export interface NewThread {
  /** A random one if left out. */
  id?: string;
  title?: string | null;
  metadata?: Json;
}

export interface ThreadChange {
  title?: string | null;
  metadata?: Json;
  is_pinned?: boolean;
  is_archived?: boolean;
}

export interface StateOptions extends CallOptions {
  /** The version that the write replaces, 0 where there must be none. */
  version?: number;
  /** How long it is valid: as the server is set if left out, for ever if null. */
  ttl_seconds?: number | null;
}

export interface RunStateOptions extends StateOptions {
  /** `critical` waits for PostgreSQL, `full` for every tier. */
  checkpoint?: CheckpointLevel;
}
