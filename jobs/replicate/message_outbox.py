"""Carries committed messages to ClickHouse."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from jobs.chains.linking import ChainLinker
from jobs.replicate.outbox import ClickHouseOutbox
from models import codec
from storage.clickhouse.driver import ClickHouse, batches
from storage.postgres.driver import execute
from storage.tiers import Tiers

SHIP_LOCK = "ship"
"""The named lock of whoever ships messages."""

LEAST_MESSAGES = 10
"""Of a batch, when larger ones were too much: few enough whatever is in them."""

ROW_AS_JSON = """json_build_object(
        'id', m.id, 'user_id', m.user_id, 'thread_id', m.thread_id, 'role', m.role,
        'content', m.content, 'metadata', m.metadata::text,
        'created_at', m.created_at, 'updated_at', m.updated_at, 'version', m.version,
        'deleted_at', m.deleted_at, 'content_hash', m.content_hash)::text"""
"""A row `m` of `messages` as ClickHouse takes it: PostgreSQL renders the rows, so that not one of
them is parsed on the way."""

# An id that is queued twice is shipped once, as the row is now.
_TAKE = f"""
WITH taken AS (
    DELETE FROM clickhouse_outbox WHERE sequence IN (
        SELECT sequence FROM clickhouse_outbox ORDER BY sequence LIMIT :batch)
    RETURNING message_id
), rows AS (
    SELECT {ROW_AS_JSON} AS line,
        json_build_array(m.user_id, m.thread_id, m.id, m.version, m.content_hash) AS linked,
        m.user_id, m.thread_id, m.id,
        CASE WHEN m.version > 1 AND EXISTS (
            SELECT FROM retention_policies p WHERE p.legal_hold
                AND p.user_id = m.user_id AND p.thread_id IN ('', m.thread_id))
        THEN m.id END AS on_hold
    FROM messages m WHERE m.id IN (SELECT message_id FROM taken) ORDER BY m.id
)
SELECT (SELECT count(*) FROM taken) AS taken,
       (SELECT count(*) FROM rows) AS shipped,
       (SELECT string_agg(line, E'\\n') FROM rows) AS lines,
       (SELECT json_agg(linked ORDER BY user_id, thread_id, id) FROM rows)::text AS versions,
       (SELECT array_agg(on_hold::text) FROM rows WHERE on_hold IS NOT NULL) AS on_hold
"""  # noqa: S608
# Versions that PostgreSQL has are kept by the statement that overwrites them.
_HELD_IN_CLICKHOUSE = """
SELECT id, version, user_id, thread_id, role, content, metadata, created_at, updated_at,
       content_hash
FROM messages WHERE id IN ({named}) AND is_deleted = 0
"""
_KEEP_HELD = """
INSERT INTO held_versions (id, version, user_id, thread_id, role, content, metadata,
                           created_at, updated_at, content_hash)
SELECT r.id, r.version, r.user_id, r.thread_id, r.role, r.content, r.metadata::json,
       r.created_at, r.updated_at, r.content_hash
FROM json_to_recordset(CAST(:records AS json)) AS r (
    id uuid, user_id text, thread_id text, role text, content text, metadata text,
    created_at timestamptz, updated_at timestamptz, version bigint, content_hash text)
LEFT JOIN messages m ON m.id = r.id WHERE m.version IS DISTINCT FROM r.version
ON CONFLICT DO NOTHING
"""


class ReplicationService(ClickHouseOutbox):
    """The queue of messages that ClickHouse does not have in their newest version."""

    def __init__(self, tiers: Tiers) -> None:
        super().__init__(
            tiers,
            _TAKE,
            "messages",
            SHIP_LOCK,
            most=tiers.settings.ship_batch_messages,
            least=LEAST_MESSAGES,
            before_insert=self._keep_and_link,
            after_insert="ship.after_insert",
            on_shipped=tiers.instruments.replicated,
        )
        self._linker = ChainLinker(tiers)

    def _keep_and_link(self, connection: Connection, row: Row[Any]) -> None:
        keep_archived(connection, self._server, row.on_hold or ())
        self._linker.link(connection, self._server, row.versions)


def keep_archived(connection: Connection, server: ClickHouse, message_ids: Sequence[str]) -> None:
    """Keeps, in the caller's transaction, what ClickHouse has of messages on hold that are about to
    get a newer version there."""
    for some in batches(message_ids, "'{}'".format):
        named = ", ".join(map("'{}'".format, some))
        found = server.lines(_HELD_IN_CLICKHOUSE.format(named=named)).splitlines()
        if found:
            execute(connection, _KEEP_HELD, records=codec.json_array(found))
