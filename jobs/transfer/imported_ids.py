"""Finds in PostgreSQL the messages that an import may have brought before."""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from models.appends import Held, IdRange

_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('threadkeep:import'))")
_KNOWN_THREADS = text(
    """
SELECT t.user_id, t.id AS thread_id
FROM json_to_recordset(CAST(:rows AS json)) AS r (user_id text, thread_id text)
JOIN threads t ON t.user_id = r.user_id AND t.id = r.thread_id
"""
)
# OFFSET 0 keeps the planner from reading all messages in order to join them: each span is a few
# rows of one partition.
_WITHIN = text(
    """
SELECT m.id::text AS id, m.user_id, m.thread_id
FROM json_to_recordset(CAST(:rows AS json)) AS r (
    user_id text, thread_id text, low uuid, high uuid)
CROSS JOIN LATERAL (
    SELECT id, user_id, thread_id FROM messages WHERE id BETWEEN r.low AND r.high OFFSET 0) AS m
WHERE m.user_id = r.user_id AND m.thread_id = r.thread_id
"""
)


def lock_imports(connection: Connection) -> None:
    """Keeps other imports from writing until this transaction ends."""
    connection.execute(_LOCK)


def of_known_threads(connection: Connection, spans: set[IdRange]) -> list[IdRange]:
    """The spans of threads that exist; in others there is nothing to be found."""
    if not spans:
        return []
    threads = {(one.user_id, one.thread_id) for one in spans}
    rows = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in threads]
    found = connection.execute(_KNOWN_THREADS, {"rows": _json(rows)})
    known = {(row.user_id, row.thread_id) for row in found}
    return [one for one in spans if (one.user_id, one.thread_id) in known]


def ids_within(connection: Connection, spans: Iterable[IdRange]) -> list[Held]:
    """The messages of these spans."""
    rows = [one._asdict() for one in spans]
    if not rows:
        return []
    found = connection.execute(_WITHIN, {"rows": _json(rows)})
    return [Held(row.user_id, row.thread_id, row.id) for row in found]


def _json(rows: list[dict[str, Any]]) -> str:
    return msgspec.json.encode(rows).decode()
