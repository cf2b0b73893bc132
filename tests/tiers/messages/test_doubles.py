"""Two messages of one Idempotency-Key, where tiers could not ask each other: one of them stays."""

from collections.abc import Callable

import pytest

from jobs.persist.drain import Drained
from models import codec
from storage.messages.clickhouse_writes import DirectWrite
from support.data.samples import append_of, message
from support.faults.outages import page, post, rows
from wiring.process import Services

pytestmark = pytest.mark.usefixtures("brought_home")


def test_two_messages_of_one_key_become_the_later(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    earlier, later = message(user), message(user)
    # PostgreSQL took the retry; Redis, whose answer was lost, comes back with the first.
    alone.failover.writes._postgres.append([append_of(later, key="k")])
    alone.tiers.redis.append([append_of(earlier, key="k")], 60)
    drain()
    alone.failover.redis_recovery.reconcile()
    assert [row[0] for row in rows(alone, user)] == [later.id]
    assert [one.id for one in page(alone, user)] == [later.id]


def test_a_message_that_is_buried_as_a_double_does_not_count(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    earlier, later, latest = message(user), message(user), message(user)
    alone.failover.writes._postgres.append([append_of(later, key="k")])
    alone.tiers.redis.append([append_of(earlier, key="k")], 60)
    drain()
    assert alone.threads.get(user, "t").message_count == 1
    alone.failover.writes._clickhouse._insert([DirectWrite(latest, codec.encode(latest), "k")])
    alone.failover.handoff.replay()
    assert alone.threads.get(user, "t").message_count == 1
    assert [row[0] for row in rows(alone, user)] == [latest.id]


def test_a_double_that_went_with_its_thread_is_not_taken_off_the_count_of_the_next(
    alone: Services, user: str
) -> None:
    alone.failover.writes._postgres.append([append_of(message(user), key="k")])
    alone.threads.delete(user, "t")
    alone.jobs.persistence.drain_backlog()
    later = message(user)
    alone.failover.writes._clickhouse._insert([DirectWrite(later, codec.encode(later), "k")])
    alone.failover.handoff.replay()
    assert alone.threads.get(user, "t").message_count == 1


def test_an_edit_of_a_double_that_nobody_saw_does_not_dig_it_up(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    done = post(alone, user, "a", "k")
    drain()
    alone.messages.edit(user, done.message.id, content="unseen", metadata=None, if_version=None)
    later = message(user)
    alone.failover.writes._clickhouse._insert([DirectWrite(later, codec.encode(later), "k")])
    alone.failover.handoff.replay()
    drain()
    alone.failover.redis_recovery.reconcile()
    hot = alone.tiers.redis.message(done.message.id)
    assert hot is None or codec.decode(hot).deleted_at is not None
    assert [row[0] for row in rows(alone, user)] == [later.id]
    assert [one.id for one in page(alone, user)] == [later.id]
    assert alone.threads.get(user, "t").message_count == 1
