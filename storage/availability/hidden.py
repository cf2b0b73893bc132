"""Which messages are hidden, and which may be in ClickHouse alone.

Redis may know of a watermark before PostgreSQL does, and either may have forgotten what the other
knows, so the higher one counts.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from models import ids
from models.message import Message
from storage.postgres.driver import execute
from storage.redis.messages import THREADS_AT_ONCE, RedisTier
from storage.resilience.bites import batches

Thread = tuple[str, str]
"""A user's id, and the id of one of their threads."""

_BOUNDARY = "SELECT below::text FROM archive_boundary"
_MARKS = """
SELECT r.user_id, r.thread_id, t.deleted_through::text, e.erased_through::text,
       t.erased_through::text, t.purged_through::text, e.finished_at IS NOT NULL
FROM json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
LEFT JOIN threads t ON t.user_id = r.user_id AND t.id = r.thread_id
LEFT JOIN user_erasures e ON e.user_id = r.user_id
"""
_ERASURES = "SELECT user_id, erased_through::text AS through FROM user_erasures"


class Watermarks(NamedTuple):
    """What hides messages of one thread: the ids at and below which they went with it (`deleted`)
    or with their user (`erased`), and how far that was carried out.

    `buried` is the id up to which PostgreSQL and Redis have nothing left of what was deleted,
    `purged` the same of ClickHouse; `is_erased` says it of all that went with the user.
    """

    deleted: str = ids.LOWEST
    erased: str = ids.LOWEST
    buried: str = ids.LOWEST
    purged: str = ids.LOWEST
    is_erased: bool = False

    @property
    def through(self) -> str:
        """The id at and below which nothing of the thread is shown."""
        return max(self.deleted, self.erased)

    def hide(self, message_id: str) -> bool:
        """Whether a message is hidden, whatever it says of itself."""
        return message_id <= self.through

    def show(self, message: Message) -> bool:
        """Whether somebody who asks for a message is to get it."""
        return message.deleted_at is None and not self.hide(message.id)


NOTHING = Watermarks()
"""The marks of a thread of which nothing was deleted."""


def archive_boundary(connection: Connection) -> str:
    """The id below which messages may be in ClickHouse alone.

    To be asked after rows were looked for: it moves before they leave PostgreSQL.
    """
    return str(execute(connection, _BOUNDARY).scalar_one())


def committed(connection: Connection, threads: Iterable[Thread]) -> dict[Thread, Watermarks]:
    """What PostgreSQL knows of threads; of names that it cannot hold, nothing."""
    found: dict[Thread, Watermarks] = dict.fromkeys(threads, NOTHING)
    ordered = sorted(one for one in found if "\0" not in "".join(one))
    for batch in batches(ordered, THREADS_AT_ONCE):
        named = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in batch]
        rows = execute(connection, _MARKS, threads=msgspec.json.encode(named).decode())
        for user_id, thread_id, *marks, is_erased in rows:
            known = [mark or ids.LOWEST for mark in marks]
            found[user_id, thread_id] = Watermarks._make([*known, is_erased])
    return found


def erasures(connection: Connection) -> dict[str, str]:
    """The users who are to be nowhere, each with the id at and below which."""
    return {row.user_id: row.through for row in execute(connection, _ERASURES)}


def hot(redis: RedisTier, threads: Iterable[Thread]) -> dict[Thread, Watermarks]:
    """What Redis knows of threads. Raises `TierError`."""
    return {thread: Watermarks(*marks) for thread, marks in redis.watermarks(threads).items()}


def known(
    connection: Connection, redis: RedisTier, threads: Collection[Thread]
) -> dict[Thread, Watermarks]:
    """What either tier knows of threads. Raises `TierError`."""
    # Redis first: what it forgets after this it has told PostgreSQL before.
    in_redis = hot(redis, threads)
    return either(in_redis, committed(connection, threads))


def either(*tiers: Mapping[Thread, Watermarks]) -> dict[Thread, Watermarks]:
    """The marks of threads, of which each tier may know some and another others: the higher ones
    of all."""
    found: dict[Thread, Watermarks] = {}
    for marks in tiers:
        for thread, mark in marks.items():
            both: Any = zip(found.get(thread, NOTHING), mark, strict=True)
            found[thread] = Watermarks._make(map(max, both))
    return found


def is_there(through: str, *, newest: str | None, floor: str | None) -> bool:
    """Whether an index in Redis says that its thread is there, given its newest message and the
    floor from which on it is complete, None where it is complete nowhere.

    An index outlives its last message. Where something was deleted it says so only if it was begun
    after that: one that is complete from the lowest id on may be as old as the thread.
    """
    begun = max(newest or "", floor or "")
    return bool(begun) and (through <= ids.LOWEST or begun > through)


def thread_of(message: Message) -> Thread:
    """The thread of a message."""
    return message.user_id, message.thread_id
