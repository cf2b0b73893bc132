"""What PostgreSQL has refused of messages and threads that were deleted since goes with them: a
letter holds all that was written, and nobody decides on it who only wanted it gone."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, text

from jobs.erase import holds
from storage.availability import hidden
from storage.postgres.dead_letters import Letter, letters

_TOMBSTONES = text(
    "SELECT id::text FROM messages WHERE id = ANY(CAST(:ids AS uuid[])) AND deleted_at IS NOT NULL"
)
_GONE_THREADS = text(
    """
SELECT t.user_id, t.id, t.version FROM threads t
JOIN json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
    ON t.user_id = r.user_id AND t.id = r.thread_id
WHERE t.deleted_at IS NOT NULL
"""
)
_DROP = text(
    "DELETE FROM dead_letters WHERE id IN ("
    "SELECT id FROM dead_letters WHERE id = ANY(:ids) FOR UPDATE SKIP LOCKED) RETURNING id"
)


class DroppedLetters(NamedTuple):
    """How many letters went, and the hidden messages of which Redis has had the last copy."""

    letters: int
    hidden: list[str]


def drop_deleted(connection: Connection) -> DroppedLetters:
    """Drops letters whose messages or threads are deleted, in the caller's transaction.

    What is on hold stays, and so does one on which somebody is deciding at this moment.
    """
    standing = holds.standing(connection)
    found = [one for one in letters(connection) if _is_known(one, standing)]
    if not found:
        return DroppedLetters(0, [])
    marks = hidden.committed(connection, {_thread(one) for one in found})
    buried = _tombstones(connection, found)
    ended = _ended(connection, found)
    gone: dict[int, str] = {}
    for one in found:
        name = one.address.message_id or ""
        if one.kind == "thread":
            if (one.address.version or 0) < ended.get(_thread(one), 0):
                gone[one.id] = ""
        elif marks[_thread(one)].hide(name):
            gone[one.id] = name
        elif name in buried:
            gone[one.id] = ""
    dropped = connection.execute(_DROP, {"ids": list(gone)}).scalars().all()
    return DroppedLetters(len(dropped), [gone[number] for number in dropped if gone[number]])


def _is_known(letter: Letter, standing: holds.Holds) -> bool:
    """Whether it says what it is of, and no hold is on that."""
    is_whole = letter.address.is_whole(letter.kind)
    thread = _thread(letter)
    return is_whole and thread[0] not in standing.users and thread not in standing.threads


def _thread(letter: Letter) -> hidden.Thread:
    return letter.address.user_id or "", letter.address.thread_id or ""


def _tombstones(connection: Connection, found: Sequence[Letter]) -> set[str]:
    names = [one.address.message_id for one in found if one.address.message_id]
    return set(connection.execute(_TOMBSTONES, {"ids": names}).scalars())


def _ended(connection: Connection, found: Sequence[Letter]) -> dict[hidden.Thread, int]:
    """The threads that are deleted, with the version that says so."""
    threads = {_thread(one) for one in found if one.kind == "thread"}
    named = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in threads]
    rows = connection.execute(_GONE_THREADS, {"threads": msgspec.json.encode(named).decode()})
    return {(row.user_id, row.id): int(row.version) for row in rows}
