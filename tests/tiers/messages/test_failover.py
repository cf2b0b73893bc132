"""A write that a tier cannot take goes to the next: the same id, once, and found at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from jobs.persist.drain import Drained
from models import codec
from models.appends import Append, NewMessage, Stored
from models.caveats import Acknowledgement
from storage.clickhouse import direct_writes
from storage.errors import NotFound, NoTierAvailable
from storage.postgres import locks
from storage.redis import keys
from support.data.samples import append_of, message
from support.faults.outages import end_bypasses, listed, post, rows, without
from support.waiting import eventually
from wiring.process import Services


def test_without_redis_postgresql_takes_it(alone: Services, user: str) -> None:
    done: Acknowledgement = post(without(alone, "redis"), user)
    assert (done.tier_used, done.durability) == ("postgresql", "committed")
    assert done.degraded == ("redis_unavailable", "degraded_performance_redis_unavailable")
    assert rows(alone, user) == [(done.message.id, 1, "hello")]
    # The process that still has Redis finds it at once, although Redis was told nothing.
    assert alone.tiers.redis.message(done.message.id) is None
    assert listed(alone, user) == ["hello"]
    assert alone.failover.retrieval.get(user, done.message.id).message == done.message


def test_without_redis_and_postgresql_clickhouse_takes_it(alone: Services, user: str) -> None:
    done = post(without(alone, "redis", "database"), user, key="k")
    assert (done.tier_used, done.durability) == ("clickhouse", "archived")
    assert done.degraded.failover_reason == "redis_and_postgresql_unavailable"
    assert rows(alone, user) == []
    # Read your writes: nobody calls a page whole while something waits in ClickHouse.
    assert listed(without(alone), user) == ["hello"]
    assert alone.failover.handoff.replay() == 1
    assert direct_writes.count_direct_writes(alone.tiers.job_clickhouse) == 0
    assert rows(alone, user) == [(done.message.id, 1, "hello")]
    assert post(alone, user, key="k").message.id == done.message.id


def test_what_one_process_alone_gave_to_clickhouse_is_listed_by_all(
    alone: Services, user: str
) -> None:
    end_bypasses(alone)
    alone.failover.redis_recovery.reconcile()
    other = without(alone)
    post(other, user, "before")
    eventually(lambda: other.failover.lease.current().redis_complete)
    other.tiers.breakers.redis.open("it is restarted")
    eventually(lambda: other.tiers.breakers.redis.is_closed)
    assert post(without(alone, "redis", "database"), user, "beside").tier_used == "clickhouse"
    # PostgreSQL was never out for the other, and nobody could tell it there.
    assert listed(other, user) == ["before", "beside"]
    alone.failover.handoff.replay()


def test_a_postgresql_that_only_keeps_one_process_waiting_takes_it_all_the_same(
    alone: Services, user: str
) -> None:
    own = without(alone, "redis")
    post(own, user, "first")

    failed: list[str] = []
    event.listen(
        own.tiers.quick_engine,
        "handle_error",
        lambda one: failed.append(str(one.original_exception)),
    )
    with ThreadPoolExecutor(1) as client, alone.tiers.job_engine.begin() as holder:
        for slot in range(alone.settings.shards):
            locks.lock_slots(holder, [slot])
        # The second, longer try finds them free.
        event.listen(own.tiers.request_engine, "checkout", lambda *_: holder.rollback())
        assert client.submit(post, own, user, "kept waiting").result().tier_used == "postgresql"
    assert "lock timeout" in failed[0]


def test_without_any_tier_nobody_acknowledges(alone: Services, user: str) -> None:
    with pytest.raises(NoTierAvailable) as error:
        post(without(alone, "redis", "database", "clickhouse"), user)
    assert error.value.tiers == ["redis", "postgresql", "clickhouse"]


def test_without_postgresql_redis_says_so(alone: Services, user: str) -> None:
    own = without(alone, "database")
    own.tiers.breakers.postgresql.open("gone")
    done = post(own, user)
    assert done.tier_used == "redis"
    assert done.degraded == (None, "degraded_mode_postgresql_unavailable")


def test_homecoming_repeated_changes_nothing(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = post(without(alone, "redis", "database"), user)
    with monkeypatch.context() as patched:
        # Dies between PostgreSQL's commit and the list.
        patched.setattr(type(alone.failover.handoff), "_strike_out", _dies)
        with pytest.raises(Crash):
            alone.failover.handoff.replay()
    assert direct_writes.count_direct_writes(alone.tiers.job_clickhouse) == 1
    assert alone.failover.handoff.replay() == 1
    assert rows(alone, user) == [(done.message.id, 1, "hello")]


def test_a_write_that_redis_took_without_an_answer_is_one_message(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    one = message(user)
    alone.tiers.redis.append([append_of(one)], 60)
    drain()
    newer = message(user)
    alone.tiers.redis.append([append_of(newer)], 60)
    drain()
    again = Append(user, "t", [NewMessage(one.id, codec.encode(one), None)], ids_are_final=True)
    assert alone.failover.writes._postgres.append([again]) == [Stored([one.id], False)]
    assert [row[0] for row in rows(alone, user)] == [one.id, newer.id]


def test_an_edit_beside_redis_wins_and_is_seen_at_once(alone: Services, user: str) -> None:
    done = post(alone, user)
    alone.jobs.persistence.drain_backlog()
    edited = without(alone, "redis").messages.edit(
        user, done.message.id, content="new", metadata=None, if_version=None
    )
    assert edited.tier_used == "postgresql"
    assert edited.message.version > 1
    assert listed(alone, user) == ["new"]
    assert alone.failover.retrieval.get(user, done.message.id).message == edited.message
    alone.failover.redis_recovery.reconcile()
    assert alone.tiers.redis.message(done.message.id) == codec.encode(edited.message)


def test_an_edit_in_redis_rests_on_one_beside_it(alone: Services, user: str) -> None:
    done = post(alone, user)
    alone.jobs.persistence.drain_backlog()
    own = without(alone, "redis")
    beside = own.messages.edit(
        user, done.message.id, content="beside", metadata=None, if_version=None
    )
    after = alone.messages.edit(
        user, done.message.id, content="after", metadata=None, if_version=None
    )
    assert (after.tier_used, after.message.version) == ("redis", beside.message.version + 1)
    assert listed(alone, user) == ["after"]


def test_a_version_nobody_saw_loses_to_one_beside_redis(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    done = post(alone, user)
    drain()
    alone.messages.edit(user, done.message.id, content="unseen", metadata=None, if_version=None)
    beside = without(alone, "redis").messages.edit(
        user, done.message.id, content="beside", metadata=None, if_version=None
    )
    drain()
    alone.failover.redis_recovery.reconcile()
    assert rows(alone, user) == [(done.message.id, beside.message.version, "beside")]
    assert alone.tiers.redis.message(done.message.id) == codec.encode(beside.message)


def test_a_delete_beside_redis_hides_at_once(alone: Services, user: str) -> None:
    done = post(alone, user)
    alone.jobs.persistence.drain_backlog()
    without(alone, "redis").messages.delete(user, done.message.id, if_version=None)
    for _ in range(2):
        assert listed(alone, user) == []
        with pytest.raises(NotFound):
            alone.failover.retrieval.get(user, done.message.id)
        alone.failover.redis_recovery.reconcile()


def test_a_delete_that_only_clickhouse_took_hides_at_once(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    done = post(alone, user)
    drain()
    alone.jobs.replication.ship_all()
    without(alone, "redis", "database").messages.delete(user, done.message.id, if_version=None)
    # Redis and PostgreSQL both hold the message still, and neither knows that it is deleted.
    assert listed(without(alone), user) == []
    with pytest.raises(NotFound):
        without(alone).failover.retrieval.get(user, done.message.id)
    assert alone.failover.handoff.replay() == 1
    assert listed(without(alone), user) == []


def test_a_thread_deleted_beside_redis_is_gone_at_once(alone: Services, user: str) -> None:
    done = post(alone, user)
    alone.jobs.persistence.drain_backlog()
    without(alone, "redis").threads.delete(user, "t")
    for _ in range(2):
        assert listed(alone, user) == []
        for look in (alone.threads.get, alone.failover.retrieval.get):
            with pytest.raises(NotFound):
                look(user, "t" if look is alone.threads.get else done.message.id)
        alone.failover.redis_recovery.reconcile()
    post(alone, user, "anew")
    assert listed(alone, user) == ["anew"]


def test_a_thread_is_made_beside_redis(alone: Services, user: str) -> None:
    without(alone, "redis").threads.create(user, "t", "title", {})
    assert alone.threads.get(user, "t").title == "title"
    alone.failover.redis_recovery.reconcile()
    assert alone.threads.get(user, "t").title == "title"


def test_a_redis_that_refuses_one_thread_is_passed_over(alone: Services, user: str) -> None:
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    alone.tiers.redis_client.set(keys.index(slot, user, "t"), "somebody else's")
    done = post(alone, user)
    assert done.tier_used == "postgresql"
    assert alone.tiers.breakers.redis.is_closed
    assert rows(alone, user) == [(done.message.id, 1, "hello")]


def test_what_one_may_not_have_is_refused_alone(alone: Services, user: str) -> None:
    good, bad = message(user), message(user, "other", content="a\0b")
    answers = alone.failover.writes._postgres.append([append_of(good), append_of(bad)])
    assert answers[0] == Stored([good.id], False)
    assert not isinstance(answers[1], Stored)
    assert [row[0] for row in rows(alone, user)] == [good.id]


class Crash(BaseException):
    """Stands for `kill -9`: nothing after it runs."""


def _dies(*_: object) -> None:
    raise Crash
