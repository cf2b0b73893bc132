"""What the persist job writes, each verb inside the caller's transaction. Records go to PostgreSQL
as the JSON they are; rows that are already as new are left alone."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from models import codec
from models.message import Message, Thread
from storage.postgres.driver import execute
from storage.postgres.tombstones import HIDDEN

COLUMNS = ", ".join(Message.__struct_fields__)
"""Of `messages`, as records name them."""

GIVEN = """json_to_recordset(CAST(:records AS json)) AS r (
        id uuid, user_id text, thread_id text, role text, content text, metadata json,
        created_at timestamptz, updated_at timestamptz, version bigint,
        deleted_at timestamptz, content_hash text)"""
"""Records of messages, as rows."""

REPLACED = """role = excluded.role, content = excluded.content, metadata = excluded.metadata,
        updated_at = excluded.updated_at, version = excluded.version,
        deleted_at = excluded.deleted_at, content_hash = excluded.content_hash,
        persisted_at = excluded.persisted_at"""
"""What another version of a message changes in its row."""

_CARRIED_ON = """queued AS (
    INSERT INTO clickhouse_outbox (message_id) SELECT id FROM stored ORDER BY id
), touched AS (
    INSERT INTO threads (user_id, id, created_at, updated_at, version,
                         last_message_at, message_count)
    SELECT user_id, thread_id, min(created_at), min(created_at), 1,
           max(created_at), sum(change)
    FROM counted GROUP BY user_id, thread_id ORDER BY user_id, thread_id
    ON CONFLICT (user_id, id) DO UPDATE SET
        message_count = threads.message_count + excluded.message_count,
        last_message_at = greatest(threads.last_message_at, excluded.last_message_at),
        created_at = CASE WHEN threads.deleted_at IS NULL THEN threads.created_at
                          ELSE excluded.created_at END,
        title = CASE WHEN threads.deleted_at IS NULL THEN threads.title END,
        metadata = CASE WHEN threads.deleted_at IS NULL THEN threads.metadata ELSE '{}' END,
        is_pinned = threads.is_pinned AND threads.deleted_at IS NULL,
        is_archived = threads.is_archived AND threads.deleted_at IS NULL,
        deleted_at = NULL
)"""
"""What follows from rows that were `stored`: the outbox, and threads as the `counted` changes."""

# Of versions that are the first and not hidden, all that the statement below does is this: no row
# is older, so that none is overwritten or kept for a legal hold, and each new row counts once. Of a
# batch with any other it does nothing. By OFFSET 0 it finds threads by their key, however many
# there are.
_INSERT_NEW = f"""
WITH given AS (
    SELECT * FROM {GIVEN}
), judged AS (
    SELECT bool_and(m.version = 1 AND NOT {HIDDEN}) AS are_new
    FROM given m
    LEFT JOIN LATERAL (SELECT deleted_through FROM threads
                       WHERE user_id = m.user_id AND id = m.thread_id OFFSET 0) t ON true
    LEFT JOIN LATERAL (SELECT erased_through FROM user_erasures
                       WHERE user_id = m.user_id OFFSET 0) e ON true
), stored AS (
    INSERT INTO messages ({COLUMNS}) SELECT {COLUMNS} FROM given
    WHERE (SELECT are_new FROM judged) ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, user_id, thread_id, created_at
), counted AS (
    SELECT user_id, thread_id, created_at, 1 AS change FROM stored
), {_CARRIED_ON}
SELECT (SELECT count(*) FROM stored) AS written WHERE (SELECT are_new FROM judged)
"""  # noqa: S608
_FIRST_VERSION = b'{"version":1,'
"""The beginning of its record, as a door writes it."""

# All parts of one statement see the state before it, so `before` is the row as it was.
# A message counts once, whichever version of it arrives first; an edit or a tombstone of one that
# is archived, and so has no row here, was counted long ago.
# What is hidden is not taken in; whoever brings something of an erased user has the erasure look
# again.
# Of what a legal hold is on, the versions that this statement overwrites or leaves out are kept.
_UPSERT_MESSAGES = f"""
WITH given AS (
    SELECT * FROM {GIVEN}
), incoming AS (
    SELECT DISTINCT ON (id) g.*, min(version) OVER (PARTITION BY id) AS lowest
    FROM given g ORDER BY id, version DESC
), erased AS (
    SELECT e.user_id, e.erased_through FROM user_erasures e
    WHERE e.user_id IN (SELECT user_id FROM incoming)
), brought_back AS (
    UPDATE user_erasures SET finished_at = NULL WHERE user_id IN (
        SELECT e.user_id FROM user_erasures e WHERE e.finished_at IS NOT NULL AND e.user_id IN (
            SELECT user_id FROM incoming i JOIN erased USING (user_id)
            WHERE i.id <= erased.erased_through)
        ORDER BY e.user_id FOR UPDATE SKIP LOCKED)
), judged AS (
    SELECT m.*, {HIDDEN} AS is_hidden, (m.id <= e.erased_through) IS TRUE AS is_erased
    FROM incoming m
    LEFT JOIN threads t ON t.user_id = m.user_id AND t.id = m.thread_id
    LEFT JOIN erased e ON e.user_id = m.user_id
), kept AS (
    SELECT * FROM judged WHERE NOT is_hidden
), on_hold AS (
    SELECT id, version, is_hidden FROM judged k WHERE NOT is_erased AND EXISTS (
        SELECT FROM retention_policies p WHERE p.legal_hold
            AND p.user_id = k.user_id AND p.thread_id IN ('', k.thread_id))
), held AS (
    INSERT INTO held_versions (id, version, user_id, thread_id, role, content, metadata,
                               created_at, updated_at, content_hash)
    SELECT v.id, v.version, v.user_id, v.thread_id, v.role, v.content, v.metadata,
           v.created_at, v.updated_at, v.content_hash
    FROM (SELECT {COLUMNS}, false AS is_given FROM messages
          WHERE id IN (SELECT id FROM on_hold)
          UNION ALL SELECT {COLUMNS}, true FROM given) v
    JOIN on_hold h ON h.id = v.id
             AND (v.version < h.version OR (h.is_hidden AND v.is_given))
    WHERE v.deleted_at IS NULL
    ON CONFLICT DO NOTHING
), stored AS (
    INSERT INTO messages ({COLUMNS}) SELECT {COLUMNS} FROM kept ORDER BY id
    ON CONFLICT (id) DO UPDATE SET {REPLACED}
    WHERE messages.version < excluded.version AND messages.user_id = excluded.user_id
    RETURNING id, user_id, thread_id, created_at, version, deleted_at
), counted AS (
    SELECT s.user_id, s.thread_id, s.created_at,
           CASE WHEN s.version = 1 THEN 1 ELSE coalesce(
               (SELECT CASE WHEN before.deleted_at IS NULL AND s.deleted_at IS NOT NULL
                            THEN -1 ELSE 0 END
                FROM messages before WHERE before.id = s.id),
               CASE WHEN k.lowest = 1 OR s.id >= (SELECT below FROM archive_boundary)
                    THEN (s.deleted_at IS NULL)::int
                    ELSE -(s.deleted_at IS NOT NULL)::int END)
           END AS change
    FROM stored s JOIN kept k USING (id)
), {_CARRIED_ON}
SELECT (SELECT count(*) FROM stored) AS written,
       (SELECT array_agg(id::text) FROM judged WHERE is_hidden) AS hidden
"""  # noqa: S608

_ABOVE = """FROM messages m WHERE m.user_id = excluded.user_id AND m.thread_id = excluded.id
        AND m.id > greatest(threads.deleted_through, excluded.deleted_through)"""
# Messages that were written beside Redis may be here before the deletion that they came after.
_UPSERT_THREAD = f"""
WITH erased AS (
    SELECT e.user_id FROM user_erasures e JOIN json_to_record(CAST(:record AS json)) AS r (
        user_id text, created_at timestamptz) USING (user_id)
    WHERE r.created_at <= e.erased_at
), brought_back AS (
    UPDATE user_erasures SET finished_at = NULL
    WHERE user_id IN (SELECT user_id FROM erased) AND finished_at IS NOT NULL
)
INSERT INTO threads (user_id, id, title, metadata, created_at, updated_at, version,
                     deleted_at, deleted_through, is_pinned, is_archived)
SELECT user_id, id, title, metadata, created_at, updated_at, version, deleted_at, deleted_through,
       coalesce(is_pinned, false), coalesce(is_archived, false)
FROM json_to_record(CAST(:record AS json)) AS r (
    user_id text, id text, title text, metadata json, created_at timestamptz,
    updated_at timestamptz, version bigint, deleted_at timestamptz, deleted_through uuid,
    is_pinned boolean, is_archived boolean)
WHERE NOT EXISTS (SELECT FROM erased)
ON CONFLICT (user_id, id) DO UPDATE SET
    title = excluded.title, metadata = excluded.metadata, updated_at = excluded.updated_at,
    created_at = CASE WHEN threads.deleted_at IS NULL
                      THEN least(threads.created_at, excluded.created_at)
                      ELSE excluded.created_at END,
    version = excluded.version,
    deleted_at = CASE WHEN excluded.deleted_at IS NOT NULL
                           AND NOT EXISTS (SELECT {_ABOVE} AND m.deleted_at IS NULL)
                      THEN excluded.deleted_at END,
    is_pinned = excluded.is_pinned, is_archived = excluded.is_archived,
    deleted_through = greatest(threads.deleted_through, excluded.deleted_through),
    message_count = CASE WHEN excluded.deleted_at IS NULL THEN threads.message_count
                         ELSE (SELECT count(*) {_ABOVE} AND m.deleted_at IS NULL) END,
    last_message_at = CASE WHEN excluded.deleted_at IS NULL THEN threads.last_message_at
                           ELSE (SELECT max(m.created_at) {_ABOVE}) END
WHERE threads.version < excluded.version
"""  # noqa: S608

_PURGE_AGAIN = """
UPDATE threads t SET purged_through = NULL
FROM json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
WHERE t.user_id = r.user_id AND t.id = r.thread_id AND t.purged_through IS NOT NULL
"""
_BACKFILL = """
INSERT INTO redis_backfill (user_id, thread_id, message_id)
SELECT user_id, thread_id, message_id FROM json_to_recordset(CAST(:rows AS json)) AS r (
    user_id text, thread_id text, message_id uuid)
"""
_DEAD_LETTER = """
INSERT INTO dead_letters (shard, entry_id, kind, record, reason)
VALUES (:shard, :entry_id, :kind, :record, :reason)
ON CONFLICT (shard, entry_id) DO NOTHING
"""


class UpsertResult(NamedTuple):
    """How many versions were newer, and the ids of messages that are hidden and so are not taken
    in."""

    newer: int
    hidden: frozenset[str]


def take_in(connection: Connection, records: Sequence[bytes]) -> UpsertResult:
    """Writes versions where they are newer and not hidden, with threads and outbox."""
    batch = {"records": codec.json_array(records)}
    if all(record.startswith(_FIRST_VERSION) for record in records):
        written = execute(connection, _INSERT_NEW, batch).scalar_one_or_none()
        if written is not None:
            return UpsertResult(int(written), frozenset())
    row = execute(connection, _UPSERT_MESSAGES, batch).one()
    return UpsertResult(int(row.written), frozenset(row.hidden or ()))


def upsert_messages(connection: Connection, records: Sequence[bytes]) -> int:
    """Likewise; gives how many were newer."""
    return take_in(connection, records).newer


def upsert_thread(connection: Connection, thread: Thread) -> bool:
    """Writes a version of a thread's own data where it is newer; gives whether it was."""
    return execute(connection, _UPSERT_THREAD, record=codec.encode(thread).decode()).rowcount > 0


def purge_again(connection: Connection, threads: Iterable[tuple[str, str]]) -> None:
    """Has what these threads have left in ClickHouse below their watermarks be purged once more."""
    named = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in threads]
    execute(connection, _PURGE_AGAIN, threads=codec.text(named))


def queue_backfill(connection: Connection, written: Iterable[Message | Thread]) -> None:
    """Notes that Redis lacks these messages, or threads' own data, or has older versions."""
    rows = [
        {"user_id": one.user_id, "thread_id": one.id}
        if isinstance(one, Thread)
        else {"user_id": one.user_id, "thread_id": one.thread_id, "message_id": one.id}
        for one in written
    ]
    execute(connection, _BACKFILL, rows=codec.text(rows))


def add_dead_letter(
    connection: Connection, slot: int, entry_id: str, kind: str, record: bytes, reason: str
) -> None:
    """Keeps a log entry that was refused, whole, with the reason."""
    execute(
        connection,
        _DEAD_LETTER,
        {"shard": slot, "entry_id": entry_id, "kind": kind, "record": record, "reason": reason},
    )
