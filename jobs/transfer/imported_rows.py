"""What an import asks of PostgreSQL and ClickHouse, of what it may have brought before, and what it
writes beside messages: threads' own data."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection

from models import codec, ids
from models.appends import Held, IdRange
from models.message import VERSION_STEP, Message, Thread
from storage.clickhouse.driver import batches as sized_to_a_statement
from storage.clickhouse.driver import literal
from storage.clickhouse.fingerprints import MOST_NAMED, clickhouse_rows_of
from storage.clickhouse.rows import LATEST_US
from storage.postgres.driver import execute
from storage.postgres.reads import thread_of
from storage.resilience.bites import batches
from storage.tiers import Tiers

_held = msgspec.json.Decoder(Held)

_KNOWN_THREADS = """
SELECT t.user_id, t.id AS thread_id
FROM json_to_recordset(CAST(:rows AS json)) AS r (user_id text, thread_id text)
JOIN threads t ON t.user_id = r.user_id AND t.id = r.thread_id
"""
# OFFSET 0 keeps the planner from reading all messages in order to join them: each span is a few
# rows of one partition.
_WITHIN = """
SELECT m.id::text AS id, m.user_id, m.thread_id
FROM json_to_recordset(CAST(:rows AS json)) AS r (
    user_id text, thread_id text, low uuid, high uuid)
CROSS JOIN LATERAL (
    SELECT id, user_id, thread_id FROM messages WHERE id BETWEEN r.low AND r.high OFFSET 0) AS m
WHERE m.user_id = r.user_id AND m.thread_id = r.thread_id
"""
_GIVEN = """
SELECT DISTINCT ON (user_id, id) * FROM json_to_recordset(CAST(:records AS json)) AS r (
    user_id text, id text, title text, metadata json, created_at timestamptz,
    updated_at timestamptz, version bigint, is_pinned boolean, is_archived boolean)
ORDER BY user_id, id, version DESC
"""
# A thread that only messages have opened has nothing to lose, whatever its version; it gets a new
# one, so that hot copies of it give way.
_UPSERT = f"""
WITH given AS ({_GIVEN})
INSERT INTO threads (user_id, id, title, metadata, created_at, updated_at, version, is_pinned,
                     is_archived)
SELECT user_id, id, title, metadata, created_at, updated_at, version, is_pinned, is_archived
FROM given WHERE NOT EXISTS (
    SELECT FROM user_erasures e WHERE e.user_id = given.user_id
        AND given.created_at <= e.erased_at)
ORDER BY user_id, id
ON CONFLICT (user_id, id) DO UPDATE SET
    title = excluded.title, metadata = excluded.metadata, updated_at = excluded.updated_at,
    created_at = least(threads.created_at, excluded.created_at),
    version = greatest(excluded.version, threads.version + {VERSION_STEP}),
    is_pinned = excluded.is_pinned, is_archived = excluded.is_archived
WHERE threads.deleted_at IS NULL AND (
    excluded.version > threads.version
    OR (excluded.version = threads.version
        AND threads.title IS NULL AND threads.metadata::text = '{{}}'
        AND NOT threads.is_pinned AND NOT threads.is_archived
        AND (excluded.title IS NOT NULL OR excluded.metadata::text <> '{{}}'
             OR excluded.is_pinned OR excluded.is_archived)))
"""  # noqa: S608
_AS_THEY_ARE = f"""
WITH given AS ({_GIVEN})
SELECT t.user_id, t.id, t.title, t.metadata, t.created_at, t.updated_at, t.version, t.deleted_at,
       t.deleted_through::text AS deleted_through, t.is_pinned, t.is_archived, t.last_message_at,
       t.message_count
FROM given JOIN threads t USING (user_id, id)
"""  # noqa: S608


class ArchivedVersions:
    """Asks ClickHouse for the versions that it has, maybe alone: an archived message has no
    row in PostgreSQL, would count twice if written there again, and come back if it was deleted."""

    def __init__(self, tiers: Tiers) -> None:
        self._server = tiers.job_clickhouse
        self._breaker = tiers.breakers.clickhouse

    def known(self, batch: Sequence[Message], below: str) -> set[str]:
        """The ids below a boundary that are there as new or newer. Raises `TierError`."""
        versions = {one.id: one.version for one in batch if one.id < below}
        known: set[str] = set()
        for names in batches(sorted(versions), MOST_NAMED):
            with self._breaker.guard(is_bulk=True):
                rows = clickhouse_rows_of(self._server, names)
            known |= {name for name, mark in rows.items() if mark.version >= versions[name]}
        return known

    def within(self, spans: Iterable[IdRange]) -> list[Held]:
        """What there is within spans of ids. Raises `TierError`."""
        places = map(_condition, sorted(spans))
        found = []
        for some in sized_to_a_statement(places, lambda condition: f"{condition} OR "):
            query = (
                "SELECT DISTINCT user_id, thread_id, toString(id) AS id FROM messages"  # noqa: S608
                f" WHERE {' OR '.join(some)}"
            )
            with self._breaker.guard(is_bulk=True):
                lines = self._server.lines(query)
            found += [_held.decode(line) for line in lines.split(b"\n") if line]
        return found


def _condition(span: IdRange) -> str:
    """All ids of a span have a time of its microseconds and its thread's shard."""
    low, high = (min(ids.time_us_of(name), LATEST_US) for name in (span.low, span.high))
    return (
        f"(user_id = {literal(span.user_id)} AND thread_id = {literal(span.thread_id)}"
        f" AND created_at >= fromUnixTimestamp64Micro(toInt64({low}), 'UTC')"
        f" AND created_at <= fromUnixTimestamp64Micro(toInt64({high}), 'UTC'))"
    )


def of_known_threads(connection: Connection, spans: set[IdRange]) -> list[IdRange]:
    """The spans of threads that exist; in others there is nothing to be found."""
    if not spans:
        return []
    threads = {(one.user_id, one.thread_id) for one in spans}
    rows = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in threads]
    found = execute(connection, _KNOWN_THREADS, rows=codec.text(rows))
    known = {(row.user_id, row.thread_id) for row in found}
    return [one for one in spans if (one.user_id, one.thread_id) in known]


def ids_within(connection: Connection, spans: Iterable[IdRange]) -> list[Held]:
    """The messages of these spans."""
    rows = [one._asdict() for one in spans]
    if not rows:
        return []
    found = execute(connection, _WITHIN, rows=codec.text(rows))
    return [Held(row.user_id, row.thread_id, row.id) for row in found]


def write_threads(connection: Connection, threads: Sequence[Thread]) -> int:
    """Writes threads' own data where newer; gives how many were."""
    return execute(connection, _UPSERT, _values(threads)).rowcount if threads else 0


def as_they_are(connection: Connection, threads: Sequence[Thread]) -> list[Thread]:
    """These threads as PostgreSQL has them."""
    if not threads:
        return []
    return [thread_of(row).thread for row in execute(connection, _AS_THEY_ARE, _values(threads))]


def _values(threads: Sequence[Thread]) -> dict[str, str]:
    return {"records": codec.json_array(codec.encode(one) for one in threads)}
