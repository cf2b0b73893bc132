"""States in the log: what comes again, what is refused, and what nobody evicts."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models.message import InvalidMessage
from storage.errors import NotFound, NoTierAvailable
from storage.redis import keys
from support.data.pending import entries, put
from support.data.states import committed, is_whole, kept, load, run, save, session
from support.faults.outages import without
from support.faults.refusing import refusing
from support.waiting import eventually
from wiring.process import Services


@pytest.fixture(autouse=True)
def whole(alone: Services) -> None:
    """Nobody writes beside Redis any more, so that it is believed alone."""
    is_whole(alone)


def key_of(alone: Services, whose: Any) -> str:
    return keys.state(alone.tiers.state_cache.slot_of(whose), whose.user_id, whose.name)


def test_entries_that_come_again_and_out_of_order_change_nothing(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    for number in range(1, 12):
        save(alone, run(user), {"n": number})
    save(alone, run(user, "gone"), {}, level="critical")
    alone.states.delete(run(user, "gone"))
    save(alone, run(user, "gone"), {"n": "anew"})
    logged = entries(alone)
    drain()
    before = (committed(alone, run(user)), kept(alone, run(user)))
    assert before == ((11, {"n": 11}), [10])
    again = logged * 3
    random.Random(1).shuffle(again)
    put(alone, again)
    assert drain().written == 0
    assert (committed(alone, run(user)), kept(alone, run(user))) == before
    assert committed(alone, run(user, "gone")) == (3, {"n": "anew"})
    assert kept(alone, run(user, "gone")) == []
    assert load(alone, run(user)) == {"n": 11}


def test_a_newer_version_that_is_pending_keeps_its_place(
    alone: Services, user: str, drain: Callable[[], Drained], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(alone, run(user), {"n": 1})
    settle = alone.tiers.pending_log.settle

    def late(batches: Any) -> int:
        save(alone, run(user), {"n": 2})
        return settle(batches)

    with monkeypatch.context() as patch:
        patch.setattr(alone.tiers.pending_log, "settle", late)
        alone.jobs.persistence.drain(range(alone.settings.shards))
    assert alone.tiers.redis_client.ttl(key_of(alone, run(user))) == -1
    drain()
    assert committed(alone, run(user)) == (2, {"n": 2})
    assert alone.tiers.redis_client.ttl(key_of(alone, run(user))) > 0


def test_what_postgresql_refuses_is_a_dead_letter_that_can_be_replayed_or_given_up(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService
) -> None:
    with refusing(alone, "position('bad' IN state::text) = 0", "state_records"):
        save(alone, run(user), {"bad": 1})
        save(alone, session(user), {"bad": 2})
        save(alone, run(user, "good"), {"n": 1})
        assert drain().refused == 2
    assert committed(alone, run(user, "good")) == (1, {"n": 1})
    letters = {one.thread_id: one for one in service.list(limit=9, cursor=None)[0]}
    assert set(letters) == {"r", ""}
    assert {(one.kind, one.user_id) for one in letters.values()} == {("state", user)}
    assert load(alone, run(user)) == {"bad": 1}
    assert alone.tiers.redis_client.ttl(key_of(alone, run(user))) == -1
    done = service.replay(letters["r"].id, by="test")
    assert (done.written, done.evictable) == (True, True)
    assert committed(alone, run(user)) == (1, {"bad": 1})
    assert alone.tiers.redis_client.ttl(key_of(alone, run(user))) > 0
    record = msgspec.json.decode(service.get(letters[""].id, by="ops").record or "")
    mended = msgspec.json.encode({**record, "state": {"mended": 2}})
    with pytest.raises(InvalidMessage):
        service.replay(letters[""].id, by="test", record=mended.replace(b"{", b"[", 2))
    service.replay(letters[""].id, by="test", record=mended)
    assert load(alone, session(user)) == {"mended": 2}
    with refusing(alone, "position('bad' IN state::text) = 0", "state_records"):
        save(alone, run(user, "b"), {"bad": 1})
        assert drain().refused == 1
    (letter,) = service.list(limit=9, cursor=None)[0]
    assert service.discard(letter.id, by="test").removed_from_redis
    with pytest.raises(NotFound):
        alone.states.get(run(user, "b"))


def test_nobody_evicts_what_is_pending(alone: Services, user: str) -> None:
    client = alone.tiers.redis_client
    before = client.config_get("maxmemory")["maxmemory"]
    save(alone, run(user), {"n": 1})
    client.config_set("maxmemory", 1)
    try:
        beside = save(Services(alone.settings), run(user, "b"), {"n": 2})
    finally:
        client.config_set("maxmemory", before)
    assert beside.tier_used == "postgresql"
    assert load(alone, run(user)) == {"n": 1}


def test_memory_and_hits_are_told(alone: Services, user: str) -> None:
    save(alone, run(user), {"n": 1})
    load(alone, run(user))
    stats = alone.tiers.state_cache.get_redis_memory_stats()
    assert stats.used_bytes > 0
    assert stats.hit_ratio is not None
    assert 0 < stats.hit_ratio <= 1
    assert alone.tiers.state_cache.validate_connection()
    assert not without(alone, "redis").tiers.state_cache.validate_connection()


def test_without_any_tier_nobody_answers(alone: Services, user: str) -> None:
    gone = without(alone, "redis", "database", "clickhouse")
    with pytest.raises(NoTierAvailable):
        save(gone, run(user), {})
    with pytest.raises(NoTierAvailable):
        gone.states.get(run(user))
    eventually(lambda: not gone.tiers.breakers.redis.is_closed)
