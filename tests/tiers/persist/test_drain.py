"""From the log to PostgreSQL: a crash, a lock or a rival costs time, never a message."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, delete, func, select, text

from jobs.persist.drain import BackgroundPersistenceService, Drained
from models.message import Message
from models.tables import clickhouse_outbox, messages
from storage.errors import TierUnavailable
from storage.messages.posts import Draft
from storage.postgres import locks
from storage.redis.pending_log import CommittedBatch, PendingLog
from support.data.pending import drained
from support.data.samples import append_of, message, revised
from support.waiting import eventually
from wiring.process import Services


class Crash(BaseException):
    """Stands for `kill -9`: nothing after it runs."""


class DiesBeforeSettling(PendingLog):
    """A log whose worker dies right after its commit."""

    def settle(self, _: Sequence[CommittedBatch]) -> None:
        raise Crash


class DiesAfterReading(PendingLog):
    """A log whose worker dies with the entries in its hands."""

    def read_batch(self, *arguments: object, **options: object) -> Any:
        super().read_batch(*arguments, **options)  # type: ignore[arg-type]
        raise Crash


def crash(alone: Services, kind: type[PendingLog]) -> None:
    """Drains with a worker that dies where `kind` says."""
    with pytest.raises(Crash):
        worker_of(alone, kind).drain_all(range(alone.settings.shards))


def worker_of(alone: Services, kind: type[PendingLog]) -> BackgroundPersistenceService:
    """A worker with a log of its own kind, and with breakers of its own."""
    own = Services(alone.settings)
    return BackgroundPersistenceService(own.tiers, kind(own.tiers.redis_door, own.settings))


@contextmanager
def held(alone: Services, statement: str) -> Iterator[Connection]:
    """A second connection that has run a statement and keeps its transaction open."""
    with alone.tiers.request_engine.connect() as rival:
        rival.execute(text(statement))
        yield rival
        rival.rollback()


def rows(alone: Services, user: str) -> dict[str, int]:
    """Id to version, of everything a user has in PostgreSQL."""
    query = select(messages.c.id, messages.c.version).where(messages.c.user_id == user)
    with alone.tiers.job_engine.connect() as connection:
        return {row.id: row.version for row in connection.execute(query)}


def outbox(alone: Services, one: Message) -> int:
    query = select(func.count()).where(clickhouse_outbox.c.message_id == one.id)
    with alone.tiers.job_engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def acknowledged(alone: Services, user: str, count: int) -> list[Message]:
    made = [message(user, f"thread-{at % 5}") for at in range(count)]
    for one in made:
        alone.tiers.redis.append([append_of(one)], 60)
    return made


def test_a_drain_carries_everything_once(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = acknowledged(alone, user, 20)
    done = drain()
    assert (done.entries, done.written, done.refused) == (20, 20, 0)
    assert rows(alone, user) == {one.id: 1 for one in made}
    assert sum(alone.tiers.pending_log.backlog()) == 0
    assert drain() == Drained()


def test_a_backlog_larger_than_a_batch_is_carried_whole(alone: Services, user: str) -> None:
    made = acknowledged(alone, user, 20)
    worker = Services(
        msgspec.structs.replace(alone.settings, drain_batch_messages=3)
    ).jobs.persistence
    assert worker.drain_all(range(alone.settings.shards)).written == 20
    assert rows(alone, user) == {one.id: 1 for one in made}
    assert sum(alone.tiers.pending_log.backlog()) == 0


@pytest.mark.parametrize(
    "text_of",
    [
        lambda n: f"{n} " + "x" * 60_000,
        lambda n: " ".join(f"{n}w{k}" for k in range(8_000)),
        lambda n: "".join(chr(0x4E00 + (k * (n + 7) * 31 + n) % 20_000) for k in range(20_000)),
    ],
    ids=["one word", "words", "Chinese"],
)
def test_many_of_the_largest_messages_keep_nobody_waiting(
    alone: Services, user: str, text_of: Callable[[int], str]
) -> None:
    """Their words are indexed in the drain's transaction, whose statements have a deadline."""
    made = [
        alone.messages.post(user, "t", Draft("user", text_of(number), {}, None)).message
        for number in range(40)
    ]
    # On a busy machine a batch may be too much for its deadline; the next one is smaller.
    eventually(lambda: drained(alone), 60)
    assert rows(alone, user) == {one.id: 1 for one in made}
    # Too much for the next one who ships all that is left.
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(delete(messages).where(messages.c.user_id == user))


def test_what_comes_during_a_drain_is_for_the_next_one(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    """A drain that went on for as long as anything came would write message by message."""
    made = acknowledged(alone, user, 3)
    later = [message(user, "later") for _ in range(3)]

    class TakesMoreMeanwhile(PendingLog):
        def settle(self, committed: Sequence[CommittedBatch]) -> None:
            if later:
                made.append(later.pop())
                alone.tiers.redis.append([append_of(made[-1])], 60)
            super().settle(committed)

    done = worker_of(alone, TakesMoreMeanwhile).drain_all(range(alone.settings.shards))
    assert (done.entries, done.written) == (3, 3)
    assert sum(alone.tiers.pending_log.backlog()) == 1
    assert drain().written == 1
    assert rows(alone, user) == {one.id: 1 for one in made}


def test_a_crash_after_the_commit_leaves_one_copy(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = acknowledged(alone, user, 10)
    crash(alone, DiesBeforeSettling)
    assert rows(alone, user) == {one.id: 1 for one in made}
    assert sum(alone.tiers.pending_log.backlog()) == 10
    assert not alone.tiers.redis.is_evictable(made[0].id)
    again = drain()
    assert (again.entries, again.written) == (10, 0)
    assert rows(alone, user) == {one.id: 1 for one in made}
    assert [outbox(alone, one) for one in made] == [1] * 10
    assert sum(alone.tiers.pending_log.backlog()) == 0
    assert alone.tiers.redis.is_evictable(made[0].id)


def test_a_crash_before_the_commit_changes_nothing(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = acknowledged(alone, user, 10)
    crash(alone, DiesAfterReading)
    assert rows(alone, user) == {}
    assert sum(alone.tiers.pending_log.backlog()) == 10
    assert drain().written == 10
    assert rows(alone, user) == {one.id: 1 for one in made}


def test_versions_of_one_message_are_drained_together(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    first = message(user)
    alone.tiers.redis.append([append_of(first)], 60)
    for before in (first, revised(first)):
        alone.tiers.redis.revise(revised(before), expected_version=before.version)
    done = drain()
    assert (done.entries, done.written) == (3, 1)
    assert rows(alone, user) == {first.id: 3}
    assert outbox(alone, first) == 1


def test_a_slot_that_another_worker_drains_is_left_to_it(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    one = message(user)
    alone.tiers.redis.append([append_of(one)], 60)
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    lock = f"SELECT pg_advisory_xact_lock({locks.SLOT_LOCKS}, {slot})"
    with held(alone, lock):
        assert drain() == Drained()
        assert rows(alone, user) == {}
        assert alone.tiers.pending_log.backlog()[slot] == 1
    assert drain().written == 1


def test_a_locked_table_postpones_a_drain(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = acknowledged(alone, user, 3)
    with held(alone, "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE"):
        with pytest.raises(TierUnavailable):
            drain()
        assert sum(alone.tiers.pending_log.backlog()) == 3
    assert drain().written == 3
    assert rows(alone, user) == {one.id: 1 for one in made}


def test_an_ended_connection_postpones_a_drain(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = acknowledged(alone, user, 3)

    class EndsItsConnection(PendingLog):
        def read_batch(self, *arguments: object, **options: object) -> Any:
            end = text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )
            with alone.tiers.request_engine.connect() as rival:
                rival.execute(end)
            return super().read_batch(*arguments, **options)  # type: ignore[arg-type]

    worker = worker_of(alone, EndsItsConnection)
    with pytest.raises(TierUnavailable):
        worker.drain_all(range(16))
    assert sum(alone.tiers.pending_log.backlog()) == 3
    assert drain().written == 3
    assert rows(alone, user) == {one.id: 1 for one in made}
