"""States of sessions and runs in the tiers, each promise on real servers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from jobs.persist.drain import Drained
from models.message import VERSION_STEP, InvalidMessage
from models.state import MAX_STATE_BYTES
from storage.errors import NotFound
from storage.redis import keys
from storage.states.postgres import forget_expired
from storage.states.service import StaleVersion
from support.data.states import (
    archived,
    at,
    committed,
    is_whole,
    kept,
    load,
    raw,
    run,
    save,
    session,
)
from support.faults.outages import without
from wiring.process import Services


@pytest.fixture(autouse=True)
def whole(alone: Services) -> None:
    """Nobody writes beside Redis any more, so that it is believed alone."""
    is_whole(alone)


def unanswered(alone: Services) -> range:
    """How many versions more there may be than anybody was told of.

    What a busy Redis takes too late counts, and is written once more as the next version; where
    Redis takes nothing, a version is written beside it, which leaves room.
    """
    return range(alone.tiers.slow_queries.counts["redis"] + 1)


def key_of(alone: Services, whose: Any) -> str:
    return keys.state(alone.tiers.state_cache.slot_of(whose), whose.user_id, whose.name)


@pytest.mark.usefixtures("steady_lease")
def test_a_state_goes_from_redis_to_postgresql_and_clickhouse(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    first = save(alone, run(user), {"step": 1})
    assert (first.record.version, first.tiers, first.durability) == (1, ["redis"], "fsynced")
    assert committed(alone, run(user)) is None
    assert alone.tiers.redis_client.ttl(key_of(alone, run(user))) == -1
    assert drain().written == 1
    assert committed(alone, run(user)) == (1, {"step": 1})
    week = alone.settings.run_state_seconds
    assert week < alone.tiers.redis_client.ttl(key_of(alone, run(user))) <= week + 60
    alone.jobs.row_copies.ship()
    assert archived(alone, run(user)) == ["state_records"]
    assert alone.states.get(run(user)).source == "redis"


def test_a_state_comes_back_as_it_was_written(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    text = b'{"n":1.10,"big":123456789012345678901234567890,"e":"\\u00e9\\/","\xc3\xa9":[null,{}]}'
    alone.states.put(run(user), msgspec.Raw(text))
    assert bytes(alone.states.get(run(user)).record.state) == text
    drain()
    alone.jobs.row_copies.ship()
    alone.tiers.redis_client.flushall()
    found = alone.states.get(run(user))
    assert (found.source, bytes(found.record.state)) == ("postgresql", text)
    both_out = without(alone, "redis", "database").states.get(run(user))
    assert (both_out.source, bytes(both_out.record.state)) == ("clickhouse", text)
    assert both_out.record == found.record
    assert both_out.warning == "degraded_mode_redis_and_postgresql_unavailable"


def test_a_stale_version_is_refused_and_says_which_is_current(alone: Services, user: str) -> None:
    with pytest.raises(StaleVersion) as none:
        save(alone, run(user), {}, expected_version=1)
    assert none.value.current_version == 0
    save(alone, run(user), {"by": "a"}, expected_version=0)
    save(alone, run(user), {"by": "b"}, expected_version=1)
    for stale in (0, 1, 3):
        with pytest.raises(StaleVersion) as error:
            save(alone, run(user), {"by": "late"}, expected_version=stale)
        assert error.value.current_version == 2
    assert load(alone, run(user)) == {"by": "b"}


def test_of_many_writers_at_once_one_wins_each_version(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    def write(number: int) -> int | None:
        try:
            return save(alone, run(user), {"by": number}, expected_version=0).record.version
        except StaleVersion:
            return None

    with ThreadPoolExecutor(20) as pool:
        (first,) = filter(None, pool.map(write, range(20)))
        saved = list(pool.map(lambda number: save(alone, run(user), {"by": number}), range(60)))
    assert len({one.record.version for one in saved} - {first}) == 60
    drain()
    last = max((one.record for one in saved), key=lambda record: record.version)
    assert last.version - 61 in unanswered(alone) or any(one.tier_used != "redis" for one in saved)
    assert committed(alone, run(user)) == (last.version, msgspec.json.decode(bytes(last.state)))


def test_fifty_patches_at_once_lose_nothing_of_each_other(alone: Services, user: str) -> None:
    save(alone, session(user), {"kept": {"a": 1, "b": 2}, "gone": 1})
    alone.states.patch(session(user), raw({"kept": {"b": None}, "gone": None}))

    def patch(number: int) -> None:
        alone.states.patch(session(user), raw({"threads": {str(number): number}}))

    with ThreadPoolExecutor(25) as pool:
        list(pool.map(patch, range(50)))
    found = alone.states.get(session(user)).record
    assert found.version - 52 in unanswered(alone) or found.version > VERSION_STEP
    wanted = {"kept": {"a": 1}, "threads": {str(n): n for n in range(50)}}
    assert msgspec.json.decode(bytes(found.state)) == wanted


def test_a_patch_cannot_grow_a_state_beyond_its_limit(alone: Services, user: str) -> None:
    half = "x" * (MAX_STATE_BYTES // 2)
    save(alone, session(user), {"a": half})
    with pytest.raises(InvalidMessage, match="at most 262144 bytes"):
        alone.states.patch(session(user), raw({"b": half}))
    assert alone.states.get(session(user)).record.version == 1


def test_what_expired_is_seen_in_no_tier_and_is_gone_later(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, run(user), {"step": 1}, ttl_seconds=30, level="critical")
    save(alone, session(user), {}, ttl_seconds=None)
    drain()
    alone.jobs.row_copies.ship()
    later = at(alone, 31)
    for process in (
        later,
        at(without(alone, "redis"), 31),
        at(without(alone, "redis", "database"), 31),
    ):
        with pytest.raises(NotFound):
            process.get(run(user))
    assert at(alone, 10 * 365 * 86_400).get(session(user)).record.expires_at is None
    assert load(alone, run(user)) == {"step": 1}
    # A later life begins above the version before it, and without its checkpoints.
    again = later.put(run(user), raw({"step": 0}), expected_version={0}, level="critical")
    assert again.record.version == 2
    assert [one.version for one in later.checkpoints(run(user), limit=9, before=None)[0]] == [2]
    old = run(user, "old")
    at(alone, -7200).put(old, raw({}), ttl_seconds=10, level="critical")
    drain()
    assert kept(alone, old) == [1]
    assert forget_expired(alone.tiers.job_engine) >= 1
    assert committed(alone, old) is None
    assert kept(alone, old) == []
    assert committed(alone, run(user)) == (2, {"step": 0})


def test_a_deleted_state_is_gone_and_a_later_one_goes_on_above_it(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    save(alone, run(user), {"secret": 1}, level="full")
    assert kept(alone, run(user)) == [1]
    alone.states.delete(run(user), expected_version={1})
    for _ in range(2):
        with pytest.raises(NotFound):
            alone.states.get(run(user))
        with pytest.raises(NotFound):
            alone.states.delete(run(user))
        drain()
    assert committed(alone, run(user)) == (2, {})
    assert kept(alone, run(user)) == []
    alone.tiers.redis_client.flushall()
    assert save(alone, run(user), {}, expected_version=0).record.version == 3


def test_checkpoints_every_tenth_version_and_when_asked_for(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    for number in range(1, 26):
        save(alone, run(user), {"n": number}, level="critical" if number == 7 else "auto")
    assert kept(alone, run(user)) == [7]
    drain()
    assert kept(alone, run(user)) == [7, 10, 20]
    shown, cursor = alone.states.checkpoints(run(user), limit=2, before=None)
    assert [(one.version, one.checkpoint) for one in shown] == [(20, "auto"), (10, "auto")]
    shown, cursor = alone.states.checkpoints(run(user), limit=2, before=cursor)
    assert ([one.version for one in shown], cursor) == ([7], None)
    alone.jobs.row_copies.ship()
    both_out = without(alone, "redis", "database").states
    assert [one.version for one in both_out.checkpoints(run(user), limit=9, before=20)[0]] == [
        10,
        7,
    ]
    assert both_out.checkpoint(run(user), 7) == alone.states.checkpoint(run(user), 7)
    done = alone.states.restore(run(user), 10)
    assert (done.record.version, load(alone, run(user))) == (26, {"n": 10})
    for missing in (8, 26, 99):
        with pytest.raises(NotFound):
            alone.states.restore(run(user), missing)


def test_each_level_is_in_its_tiers_before_the_answer(alone: Services, user: str) -> None:
    done = save(alone, run(user, "c"), {"n": 1}, level="critical")
    assert (done.tiers, done.durability) == (["redis", "postgresql"], "committed")
    assert committed(alone, run(user, "c")) == (1, {"n": 1})
    assert archived(alone, run(user)) == []
    done = save(alone, run(user, "f"), {"n": 2}, level="full")
    assert (done.tiers, done.durability) == (["redis", "postgresql", "clickhouse"], "archived")
    assert archived(alone, run(user)) == ["checkpoints", "state_records"]
    assert done.warning is None


def test_a_level_that_cannot_be_reached_is_named_and_made_up_for(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    done = save(without(alone, "database"), run(user), {"n": 1}, level="full")
    assert (done.tiers, done.durability) == (["redis"], "fsynced")
    assert done.warning == "degraded_mode_postgresql_unavailable"
    done = save(without(alone, "clickhouse"), run(user, "f"), {"n": 1}, level="full")
    assert (done.tiers, done.durability) == (["redis", "postgresql"], "committed")
    assert done.warning == "degraded_mode_clickhouse_unavailable"
    drain()
    alone.jobs.row_copies.ship()
    assert len(kept(alone, run(user))) == 1
    assert archived(alone, run(user)) == ["checkpoints"] * 2 + ["state_records"] * 2
