"""States while a tier is out, when it is back, and when it has lost what it had."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest

from jobs.persist.drain import Drained
from models import codec
from storage.errors import NotFound, NoTierAvailable, TierError
from storage.postgres import states
from storage.states.service import StaleVersion
from support.calls.erasing import erase
from support.data.everywhere import places
from support.data.states import at, committed, is_whole, kept, load, raw, run, save, session
from support.faults.outages import without
from support.faults.refusing import refusing
from wiring.process import Services


@pytest.fixture(autouse=True)
def whole(alone: Services) -> None:
    """Nobody writes beside Redis yet, and Redis knows all that was."""
    is_whole(alone)


def test_without_redis_postgresql_takes_it_and_it_wins_when_redis_is_back(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, run(user), {"by": "redis"})
    drain()
    own = without(alone, "redis")
    done = save(own, run(user), {"by": "postgresql"}, expected_version=1, level="critical")
    assert (done.record.version, done.tier_used, done.tiers) == (1001, "postgresql", ["postgresql"])
    assert (done.durability, done.failover_reason) == ("committed", "redis_unavailable")
    assert done.warning == "degraded_performance_redis_unavailable"
    with pytest.raises(StaleVersion):
        save(own, run(user), {}, expected_version=1)
    # Redis has an older copy, and is not believed before it was told.
    assert load(alone, run(user)) == {"by": "postgresql"}
    is_whole(alone)
    found = alone.states.get(run(user))
    assert (found.source, found.record.version) == ("redis", 1001)
    assert save(alone, run(user), {"by": "redis"}, expected_version=1001).record.version == 1002


def test_a_version_nobody_saw_loses_to_one_beside_redis(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, session(user), {"n": 1})
    drain()
    save(alone, session(user), {"n": 2})
    save(without(alone, "redis"), session(user), {"n": "beside"})
    assert drain().written == 0
    alone.failover.redis_recovery.reconcile()
    assert committed(alone, session(user)) == (1001, {"n": "beside"})
    record = alone.tiers.state_cache.load_primary_state(session(user))
    assert record is not None
    assert record.version == 1001


def test_a_write_to_redis_rests_on_one_beside_it(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, session(user), {"a": 1})
    drain()
    without(alone, "redis").states.patch(session(user), raw({"b": 2}))
    done = alone.states.patch(session(user), raw({"c": 3}))
    assert (done.tier_used, done.record.version) == ("redis", 1002)
    drain()
    assert committed(alone, session(user)) == (1002, {"a": 1, "b": 2, "c": 3})


def test_what_was_deleted_beside_redis_stays_deleted(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, run(user), {"a": 1}, level="critical")
    drain()
    without(alone, "redis").states.delete(run(user))
    for _ in range(2):
        with pytest.raises(NotFound):
            alone.states.get(run(user))
        is_whole(alone)
    assert kept(alone, run(user)) == []


def test_a_redis_that_came_back_empty_is_warmed_from_postgresql(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, session(user), {"n": 1})
    drain()
    alone.tiers.redis_client.flushall()
    is_whole(alone)
    assert alone.states.get(session(user)).source == "postgresql"
    assert alone.states.get(session(user)).source == "redis"
    record = alone.states.get(session(user)).record
    newer = save(alone, session(user), {"n": 2}).record
    # Whoever read before, and is late, brings nothing old back, nor a lifetime for what is pending.
    assert not alone.tiers.state_cache.cache_state_in_redis(record)
    assert alone.tiers.state_cache.load_primary_state(session(user)) == newer


def test_a_promoted_replica_that_lacks_the_end_is_told(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, run(user), {"n": 1})
    drain()
    save(alone, run(user), {"n": 2})
    drain()
    newest = alone.states.get(run(user)).record
    alone.tiers.redis_client.flushall()
    alone.failover.redis_recovery.adopt()
    alone.tiers.state_cache.save_primary_state(
        msgspec.structs.replace(newest, version=1, state=raw({"n": 1})), expected_version=0
    )
    assert drain().written == 0
    alone.failover.redis_recovery.reconcile()
    assert alone.tiers.state_cache.load_primary_state(run(user)) == newest


def test_a_restarted_redis_drops_what_may_be_stale(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, session(user), {"n": 1})
    save(alone, run(user), {"n": 1})
    drain()
    save(alone, run(user, "pending"), {"n": 1})
    alone.failover.redis_recovery.invalidate_all()
    assert alone.tiers.state_cache.load_primary_state(session(user)) is None
    assert alone.tiers.state_cache.load_primary_state(run(user)) is None
    assert alone.tiers.state_cache.load_primary_state(run(user, "pending")) is not None


def test_without_postgresql_redis_goes_on_and_nothing_is_lost(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, run(user), {"n": 1})
    for number in range(5):
        save(alone, run(user, "cold"), {"n": number})
    drain()
    alone.tiers.redis_client.delete(*alone.tiers.redis_client.keys("state:primary:*cold"))
    own = without(alone, "database")
    own.tiers.breakers.postgresql.open("gone")
    done = save(own, run(user), {"n": 2}, expected_version=1)
    assert (done.tier_used, done.warning) == ("redis", "degraded_mode_postgresql_unavailable")
    assert own.states.get(run(user)).warning == "degraded_mode_postgresql_unavailable"
    # Nobody can tell what the version was, so the new one is above any that was counted.
    done = save(own, run(user, "cold"), {"n": "new"})
    assert done.record.version > 1_000_000
    with pytest.raises(NoTierAvailable):
        own.states.get(run(user, "unknown"))
    with pytest.raises(NoTierAvailable):
        own.states.patch(run(user, "unknown"), raw({}))
    drain()
    assert committed(alone, run(user, "cold")) == (done.record.version, {"n": "new"})
    assert committed(alone, run(user)) is not None


@pytest.mark.usefixtures("steady_lease")
def test_an_erased_user_leaves_no_state_anywhere(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    marker, other = f"text of {user}", f"{user}-other"
    save(alone, session(other), {"n": 1}, level="full")
    save(alone, session(user), {"note": marker})
    # Numbers that not everybody can read do not hide what stands beside them.
    save(alone, run(user), {"note": marker, "big": 10**40}, level="full")
    drain()
    alone.jobs.row_copies.ship()
    with refusing(alone, "name <> 'refused'", "state_records"):
        save(alone, run(user, "refused"), {"note": marker})
        assert drain().refused == 1
    save(alone, run(user, "pending"), {"note": marker})
    save(without(alone, "redis"), run(user, "beside"), {"note": marker})
    before = places(alone, marker)
    assert {place.split(":")[0] for place in before} == {"redis", "postgresql", "clickhouse"}
    done = erase(alone, user)
    assert places(alone, marker) == set()
    assert done.removed["redis"]["states"] >= 4
    assert done.removed["postgresql"]["state_records"] == 3
    assert done.removed["postgresql"]["checkpoints"] >= 1
    assert load(alone, session(other)) == {"n": 1}
    for whose in (session(user), run(user), run(user, "pending"), run(user, "beside")):
        with pytest.raises(NotFound):
            alone.states.get(whose)


def test_who_comes_back_keeps_what_is_new(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, session(user), {"old": 1})
    save(alone, run(user), {"old": 1}, level="critical")
    logged = alone.states.get(run(user)).record
    alone.jobs.user_erasure.request(user, by="an admin")
    with pytest.raises(NotFound):
        alone.states.get(session(user))
    alone.states.patch(session(user), raw({"new": 1}))
    save(alone, run(user), {"new": 1}, level="full", expected_version=0)
    drain()
    alone.jobs.row_copies.ship()
    done = alone.jobs.user_erasure.carry_on(user)
    assert done is not None
    assert done.state == "done"
    # What comes late from before stays out.
    with alone.tiers.job_engine.begin() as connection:
        assert not states.upsert(connection, [codec.encode(logged)])
    for process in (alone, without(alone, "redis"), without(alone, "redis", "database")):
        assert load(process, session(user)) == {"new": 1}
        assert load(process, run(user)) == {"new": 1}


def test_a_late_clock_of_an_eraser_keeps_nobody_from_writing(alone: Services, user: str) -> None:
    save(alone, session(user), {"old": 1})
    ahead = at(alone, 5)
    ahead.put(session(user), raw({"older": 1}))
    alone.jobs.persistence.drain_backlog()
    alone.jobs.user_erasure.request(user, by="an admin")
    save(alone, session(user), {"new": 1})
    assert load(alone, session(user)) == {"new": 1}
    alone.jobs.persistence.drain_backlog()
    found = committed(alone, session(user))
    assert found is not None
    assert found[1] == {"new": 1}


def test_writers_beside_redis_and_in_it_overwrite_nothing_unseen(
    alone: Services, user: str
) -> None:
    save(alone, run(user), {"expected_version": 0})
    alone.jobs.persistence.drain_backlog()
    stop, saved = threading.Event(), []

    def carry() -> None:
        while not stop.is_set():
            # What one round cannot do another will.
            with suppress(TierError):
                alone.jobs.persistence.drain_backlog()
                alone.failover.redis_recovery.reconcile()

    def write(own: Services) -> None:
        for _ in range(15):
            seen = own.states.get(run(user)).record.version
            try:
                done = save(own, run(user), {"expected_version": seen}, expected_version=seen)
                saved.append((done.record.version, seen))
            except (StaleVersion, NoTierAvailable):
                continue

    worker = threading.Thread(target=carry, daemon=True)
    worker.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            processes = [alone, Services(alone.settings), without(alone, "redis")]
            list(pool.map(write, [*processes, processes[-1]]))
    finally:
        stop.set()
        worker.join(timeout=20)
    saved.sort()
    assert len(saved) > 10
    unseen = [pair for pair in pairwise(saved) if pair[1][1] < pair[0][0]]
    assert unseen == []
