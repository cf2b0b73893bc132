"""A message is named only when two readings in a row, with the pipeline drained in between, find
the same copies, and neither finds it on its way."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from itertools import chain
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection

from jobs.consistency.judge.copies import Copies, archived_rows, committed_rows, hot_records
from jobs.consistency.judge.verdict import CopyVerdict, judge
from models import codec
from models.message import Message
from models.records import address_of
from storage.availability import hidden
from storage.availability.hidden import Thread
from storage.clickhouse.driver import ClickHouse
from storage.postgres.backlog import refused
from storage.postgres.driver import execute, translated
from storage.redis import keys
from storage.redis.pending_log import LogEntry, PendingLog
from storage.resilience.bites import batches
from storage.tiers import Tiers

Found = TypeVar("Found")

BATCH = 1_000
POLL_SECONDS = 0.05
SETTLE_SECONDS = 15.0
"""What is not still by then is being written; the next check sees it again."""

PATIENCE_SECONDS = 60.0
"""Longer than any worker that is well takes for what waits; what waits longer is named."""

MOST_ENTRIES = 1_000_000

_QUEUED = """
SELECT message_id::text FROM clickhouse_outbox
WHERE message_id = ANY(CAST(:ids AS uuid[]))
UNION SELECT message_id::text FROM redis_backfill WHERE message_id = ANY(CAST(:ids AS uuid[]))
"""
_DIRECT = "SELECT DISTINCT toString(id) AS name FROM direct_writes"


class InFlight(NamedTuple):
    """Of some messages those on their way, and all that PostgreSQL has refused."""

    moving: set[str]
    refused: set[str]


def in_flight(
    connection: Connection, server: ClickHouse, log: PendingLog, names: Collection[str]
) -> InFlight:
    """Searches every list of what is to be carried. Raises `TierError`."""
    moving = set(execute(connection, _QUEUED, ids=list(names)).scalars())
    carried = {message.id for _, message in pending(log)}
    carried |= {row.name for row in server.rows(_DIRECT)}
    return InFlight(
        moving | (carried & set(names)),
        {name for address in refused(connection) if (name := address.message_id)},
    )


def pending(log: PendingLog) -> Iterator[tuple[LogEntry, Message]]:
    """The versions of messages that wait in the log, with their entries. Raises `TierError`."""
    for entry in log.read(range(log.slots), MOST_ENTRIES):
        if entry.kind == "message":
            try:
                yield entry, codec.decode(entry.record)
            except codec.Corrupt:
                continue


def confirmed(read: Callable[[], Set[Found]], drain_pipeline: Callable[[], None]) -> set[Found]:
    """What two readings both find, with the pipeline drained in between."""
    first = read()
    if not first:
        return set()
    drain_pipeline()
    time.sleep(POLL_SECONDS)
    return set(first & read())


class Confirmation:
    """Judges suspects over all three tiers."""

    def __init__(self, tiers: Tiers, drain_pipeline: Callable[[], None]) -> None:
        self._tiers = tiers
        self._drain_pipeline = drain_pipeline

    def prove(self, suspects: Collection[str]) -> list[CopyVerdict]:
        """The verdicts on those suspects with which something is wrong. Raises `TierError`."""
        found = map(self._prove, batches(sorted(suspects), BATCH))
        return list(chain.from_iterable(found))

    def judge(self, names: Sequence[str]) -> tuple[list[CopyVerdict], InFlight]:
        """The verdicts on some messages as they are now, and which of them are on their way."""
        tiers = self._tiers
        key_of = {keys.message(tiers.redis.slot_of_message(name), name): name for name in names}
        with translated(), tiers.job_engine.connect() as connection:
            committed = committed_rows(connection, names)
            archived = archived_rows(tiers.job_clickhouse, names)
            found = hot_records(tiers.redis_door, list(key_of))
            hot = {key_of[key]: record for key, record in found.items()}
            copies = [
                Copies(name, hot.get(name), committed.get(name), tuple(archived.get(name, ())))
                for name in names
            ]
            threads = {one.id: _threads(one) for one in copies}
            marks = hidden.known(connection, tiers.redis, set().union(*threads.values()))
            boundary = hidden.archive_boundary(connection)
            # Last, so that what moved while the copies were read is still seen on its way or as
            # a change at the next reading.
            moving = in_flight(connection, tiers.job_clickhouse, tiers.pending_log, names)
        verdicts = []
        for one in copies:
            known = one._replace(marks={thread: marks[thread] for thread in threads[one.id]})
            verdicts.append(judge(known, boundary, is_refused=one.id in moving.refused))
        return verdicts, moving

    def _prove(self, names: Sequence[str]) -> list[CopyVerdict]:
        proven: list[CopyVerdict] = []
        before: dict[str, CopyVerdict] = {}
        deadline = time.monotonic() + SETTLE_SECONDS
        while names:
            verdicts, moving = self.judge(names)
            still = [v for v in verdicts if v.wrong and v.id not in moving.moving]
            proven += [v for v in still if before.get(v.id) == v]
            before = {v.id: v for v in still}
            done = {v.id for v in proven} | {v.id for v in verdicts if not v.wrong}
            names = [name for name in names if name not in done]
            if time.monotonic() > deadline:
                break
            if names:
                self._drain_pipeline()
                time.sleep(POLL_SECONDS)
        return proven


def _threads(copies: Copies) -> set[Thread]:
    """Whose message it is, as any copy says."""
    threads = {(row.user_id, row.thread_id) for row in copies.archived}
    if copies.committed is not None:
        threads.add(hidden.thread_of(copies.committed))
    if copies.hot is not None:
        address = address_of("message", copies.hot.record)
        threads.add((address.user_id or "", address.thread_id or ""))
    return threads
