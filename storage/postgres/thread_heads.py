"""The ends of the hash chains, in the transactions that move them."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection

from models import codec
from models.chain import Head, ThreadHead
from storage.postgres.driver import execute, rfc3339

Thread = tuple[str, str]

_FIND = """
SELECT h.user_id, h.thread_id, h.length, h.link FROM thread_heads h
JOIN json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
USING (user_id, thread_id)
"""
_PUT = """
INSERT INTO thread_heads (user_id, thread_id, length, link, linked_at)
SELECT user_id, thread_id, length, link, CAST(:linked_at AS timestamptz)
FROM json_to_recordset(CAST(:heads AS json)) AS r (
    user_id text, thread_id text, length bigint, link text)
ORDER BY user_id, thread_id
ON CONFLICT (user_id, thread_id) DO UPDATE SET
    length = excluded.length, link = excluded.link, linked_at = excluded.linked_at
WHERE thread_heads.length < excluded.length
"""
_IS_WHOLE = "SELECT is_whole FROM chain_state"
_NOW_WHOLE = "UPDATE chain_state SET is_whole = true"
_SENT = "SELECT sent_at FROM chain_state"
_NOTE_SENT = "UPDATE chain_state SET sent_at = CAST(:sent_at AS timestamptz)"
_SINCE = """
SELECT user_id, thread_id, length, link FROM thread_heads
WHERE CAST(:since AS timestamptz) IS NULL OR linked_at >= CAST(:since AS timestamptz)
ORDER BY user_id COLLATE "C", thread_id COLLATE "C"
"""


def find(connection: Connection, threads: Iterable[Thread]) -> dict[Thread, Head]:
    """The heads of threads, as far as they have any."""
    named = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in threads]
    rows = execute(connection, _FIND, threads=codec.text(named))
    return {(row.user_id, row.thread_id): Head(row.length, row.link) for row in rows}


def put(connection: Connection, heads: Mapping[Thread, Head], linked_at: str) -> None:
    """Moves heads to where chains end since a moment; none is moved back."""
    rows = [ThreadHead(*thread, *head)._asdict() for thread, head in heads.items()]
    execute(connection, _PUT, heads=codec.text(rows), linked_at=linked_at)


def are_whole(connection: Connection) -> bool:
    """Whether every head that ClickHouse knows is here."""
    return bool(execute(connection, _IS_WHOLE).scalar_one())


def declare_whole(connection: Connection) -> None:
    """Notes that every head is here."""
    execute(connection, _NOW_WHOLE)


def sent_through(connection: Connection) -> str | None:
    """The moment up to which heads were sent elsewhere, RFC 3339; None before the first time."""
    sent_at = execute(connection, _SENT).scalar_one()
    return None if sent_at is None else rfc3339(sent_at)


def note_sent(connection: Connection, through: str) -> None:
    """Notes that heads were sent up to a moment."""
    execute(connection, _NOTE_SENT, sent_at=through)


def changed_since(connection: Connection, since: str | None) -> Sequence[ThreadHead]:
    """The heads that were moved at or after a moment (RFC 3339), or all, by user and thread."""
    return [ThreadHead(*row) for row in execute(connection, _SINCE, since=since)]
