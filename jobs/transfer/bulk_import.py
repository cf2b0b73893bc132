"""Imports history into PostgreSQL in batches, beside Redis and its log, with the persist job's
statement: newer versions win. So an import may be repeated, stopped and started again. A foreign
message is there already if its thread has one of that time and source."""

import operator
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, select

from jobs.transfer.formats.settling import Settlement, spans
from jobs.transfer.formats.source import Kept, Minted, RefusedLine
from jobs.transfer.imported_rows import (
    ArchivedVersions,
    as_they_are,
    ids_within,
    of_known_threads,
    write_threads,
)
from models import codec
from models.appends import Held
from models.message import Message, Thread
from models.tables import messages
from storage.availability.hidden import archive_boundary
from storage.errors import TierRejected, TierUnavailable
from storage.postgres.driver import transact, translated
from storage.postgres.locks import lock
from storage.postgres.partitions import Partitions
from storage.postgres.writes import take_in
from storage.resilience.bites import sized_batches
from storage.resilience.retries import retry_until_available
from storage.tiers import Tiers

Result = TypeVar("Result")

BATCH_MESSAGES = 5_000
BATCH_BYTES = 16 * 1024 * 1024
"""Records that one statement takes at most, however few they are."""
ATTEMPTS = 7
"""About eight seconds in all for a lock or a restart to pass."""


class Imported(NamedTuple):
    """Counts so far: what was read, versions of messages written, messages that were there already
    (as new or newer), messages left out because their thread or user was deleted, refusals of this
    step, threads read, and those of them whose own data was written."""

    read: int = 0
    written: int = 0
    unchanged: int = 0
    deleted: int = 0
    refusals: tuple[RefusedLine, ...] = ()
    threads_read: int = 0
    threads: int = 0


class _Settled(NamedTuple):
    """What a batch became: threads, messages with their places in the source, and refusals."""

    threads: list[Thread]
    messages: list[tuple[Message, str]]
    refusals: list[RefusedLine]


class BulkImporter:
    """Imports threads and messages of the past."""

    def __init__(
        self,
        tiers: Tiers,
        batch_messages: int = BATCH_MESSAGES,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = tiers.job_engine
        self._redis = tiers.redis_repair
        self._archived = ArchivedVersions(tiers)
        self._partitions = Partitions(tiers.job_engine)
        self._batch_messages = batch_messages
        self._pause = pause

    def run(self, source: Iterable[Kept]) -> Iterator[Imported]:
        """Imports all, batch by batch, giving the counts so far after each commit. Raises
        `TierUnavailable`; what was counted is committed, and repeating the import does the rest."""
        total = Imported()
        for batch in sized_batches(source, _size_of, BATCH_BYTES, self._batch_messages):
            step = self._import(batch)
            total = _sum(total, step)._replace(refusals=step.refusals)
            yield total

    def _import(self, batch: Sequence[Kept]) -> Imported:
        names = [_record_of(item).id for item in batch if not isinstance(item, Thread)]
        self._retried(self._partitions.ensure_for, names)
        try:
            settled, hidden, done = self._retried(self._write, batch)
        except TierRejected as error:
            # The message that PostgreSQL refuses is found by halves; the others are imported.
            if len(batch) == 1:
                return Imported(read=1, refusals=(RefusedLine(_where(batch[0]), error.reason),))
            middle = len(batch) // 2
            return _sum(self._import(batch[:middle]), self._import(batch[middle:]))
        # Also after a batch that changed nothing: the run before this one may have stopped
        # between its commit and here.
        self._retried(self._refresh_redis, settled, hidden)
        return done

    def _write(self, batch: Sequence[Kept]) -> tuple[_Settled, frozenset[str], Imported]:
        """Gives what the batch became, the ids of what is hidden, and the counts."""
        places = spans(batch)
        with translated(), self._engine.connect() as connection:
            below = archive_boundary(connection)
            old = of_known_threads(connection, {one for one in places if one.low < below})
        archived = self._archived.within(old)
        own = [item for item in batch if isinstance(item, Message)]
        known = self._archived.known(own, below) | {one.id for one in archived}
        with translated(), self._engine.begin() as connection:
            if places:
                # Two imports of the same messages at the same moment must not both find nothing.
                lock(connection, "import")
            here = ids_within(connection, of_known_threads(connection, places))
            settled = _settle(batch, [*archived, *here])
            # Before the messages, which would open them as threads that nobody named.
            threads = write_threads(connection, settled.threads)
            new = [(one, where) for one, where in settled.messages if one.id not in known]
            written, hidden = take_in(connection, [codec.encode(one) for one, _ in new])
            # From the first row on nothing is archived until the end of this transaction.
            if archive_boundary(connection) != below:
                raise TierUnavailable("postgresql", "archiving went on meanwhile", passing=True)
            deleted, refused = _left_out(connection, new) if written < len(new) else (0, [])
        refusals = (*settled.refusals, *refused)
        count = len(batch) - len(settled.threads)
        unchanged = count - written - deleted - len(refusals)
        done = Imported(
            len(batch), written, unchanged, deleted, refusals, len(settled.threads), threads
        )
        return settled, hidden, done

    def _refresh_redis(self, settled: _Settled, hidden: frozenset[str]) -> None:
        """No hot page may call itself complete, no hot copy may hide a newer version."""
        messages = [one for one, _ in settled.messages]
        shown = {(one.user_id, one.thread_id) for one in messages if one.id not in hidden}
        self._redis.invalidate_indexes(sorted(shown))
        # A first version cannot be newer than a hot copy.
        self._redis.refresh([one for one in messages if one.version > 1])
        threads = transact(self._engine, as_they_are, settled.threads)
        for thread in threads:
            self._redis.refresh_thread(thread)

    def _retried(self, work: Callable[..., Result], *arguments: object) -> Result:
        return retry_until_available(
            work, *arguments, attempts=ATTEMPTS, event="import_waits", pause=self._pause
        )


def _sum(one: Imported, other: Imported) -> Imported:
    """Both together: their counts, and their refusals in turn."""
    return Imported(*map(operator.add, one, other))


def _settle(batch: Sequence[Kept], held: Iterable[Held]) -> _Settled:
    settlement = Settlement(held)
    found = _Settled([], [], [])
    for item in batch:
        settled = settlement.settle(item)
        if isinstance(settled, RefusedLine):
            found.refusals.append(settled)
        elif isinstance(settled, Thread):
            found.threads.append(settled)
        else:
            found.messages.append((settled, _where(item)))
    return found


def _record_of(item: Kept) -> Message | Thread:
    return item.message if isinstance(item, Minted) else item


def _size_of(item: Kept) -> int:
    return len(codec.encode(_record_of(item)))


def _where(item: Kept) -> str:
    if isinstance(item, Minted):
        return item.where
    return f"{'message' if isinstance(item, Message) else 'thread'} {item.id}"


def _left_out(
    connection: Connection, new: Sequence[tuple[Message, str]]
) -> tuple[int, list[RefusedLine]]:
    """How many of the messages are deleted, and which are refused and why: nothing is left out in
    silence."""
    columns = messages.c
    query = select(
        columns.id, columns.user_id, columns.thread_id, columns.version, columns.content_hash
    ).where(columns.id.in_([one.id for one, _ in new]))
    there = {row.id: row for row in connection.execute(query)}
    refusals = []
    for one, where in new:
        row = there.get(one.id)
        if row is None:
            continue
        if (row.user_id, row.thread_id) != (one.user_id, one.thread_id):
            refusals.append(RefusedLine(where, "its id belongs to another message"))
        elif row.version == one.version and row.content_hash != one.content_hash:
            reason = "it differs from what is stored of it in the same version"
            refusals.append(RefusedLine(where, reason))
    return sum(one.id not in there for one, _ in new), refusals
