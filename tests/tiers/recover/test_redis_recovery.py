"""What Redis is told afterwards, how it is warmed, and when there is no quota in it."""

from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy import text

from jobs.persist.drain import Drained
from models import codec, ids
from storage.errors import TierUnavailable
from storage.messages.posts import Draft
from storage.redis.log_quota import LogQuota
from support.data.samples import append_of, message, revised
from support.waiting import eventually
from wiring.process import Services


def whole(alone: Services, user: str) -> bool:
    """Whether Redis alone has the whole thread."""
    return alone.tiers.redis.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 99).floor == ids.LOWEST


def test_a_lost_cache_is_warmed_from_postgresql(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = [message(user) for _ in range(5)]
    alone.tiers.redis.append([append_of(*made)], 60)
    drain()
    alone.tiers.redis_client.flushall()
    alone.failover.redis_recovery.adopt()
    assert sum(alone.failover.redis_recovery.warm(user)) == 5
    assert whole(alone, user)
    page = alone.failover.retrieval.page(user, "t", limit=9, cursor=None, order="asc")
    assert [one.id for one in page.messages] == [one.id for one in made]
    # What is there already is not told again.
    assert sum(alone.failover.redis_recovery.warm(user)) == 0


def test_only_what_is_asked_for_is_warmed(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    mine, other = message(user), message(user, "other")
    alone.tiers.redis.append([append_of(mine), append_of(other)], 60)
    drain()
    alone.tiers.redis_client.flushall()
    assert list(alone.failover.redis_recovery.warm(user, "t")) == [1]
    assert alone.tiers.redis.message(mine.id) is not None
    assert alone.tiers.redis.message(other.id) is None
    assert list(alone.failover.redis_recovery.warm("nobody")) == []


def test_a_warm_page_is_no_longer_than_the_hot_page(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = [message(user) for _ in range(6)]
    alone.tiers.redis.append([append_of(*made)], 60)
    drain()
    alone.tiers.redis_client.flushall()
    own = Services(msgspec.structs.replace(alone.settings, hot_page_messages=4))
    assert list(own.failover.redis_recovery.warm(user)) == [4]
    page = alone.tiers.redis.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 99)
    assert page.floor == made[2].id
    assert [name for name, _ in page.records] == [one.id for one in made[2:]]


def test_a_pending_newer_version_is_not_replaced(alone: Services, user: str) -> None:
    first = message(user)
    second = revised(first)
    alone.tiers.redis.append([append_of(first)], 60)
    alone.tiers.redis.revise(second, expected_version=1)
    alone.tiers.redis_repair.refresh([first])
    assert alone.tiers.redis.message(first.id) == codec.encode(second)
    assert not alone.tiers.redis.is_evictable(first.id)


def test_a_log_that_fills_redis_sends_writes_on(alone: Services, user: str) -> None:
    own = Services(alone.settings)
    client = alone.tiers.redis_client
    before = client.config_get("maxmemory")["maxmemory"]
    settings = msgspec.structs.replace(alone.settings, redis_log_share=0.2)
    quota = LogQuota(own.tiers.redis_door, settings)
    quota.admit()
    content = "x" * 60_000
    for _ in range(60):
        alone.tiers.redis.append([append_of(message(user, content=content))], 60)
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) * 2)
    try:
        assert quota.share() > 0.2
        tight = LogQuota(own.tiers.redis_door, settings)
        with pytest.raises(TierUnavailable, match="its log takes over 20%") as error:
            tight.admit()
        assert error.value.passing
        assert not error.value.is_ambiguous
        limited = Services(settings)
        done = limited.messages.post(user, "t", Draft("user", "hello", {}, None))
        assert done.tier_used == "postgresql"
        assert limited.tiers.breakers.redis.is_closed
    finally:
        client.config_set("maxmemory", before)
    assert quota.share() < 0.2


def test_a_full_redis_refuses_without_a_trace_and_postgresql_takes_it(
    alone: Services, user: str
) -> None:
    own = Services(alone.settings)
    client = alone.tiers.redis_client
    before = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", 1)
    try:
        done = own.messages.post(user, "t", Draft("user", "hello", {}, None))
    finally:
        client.config_set("maxmemory", before)
    assert done.tier_used == "postgresql"
    assert own.tiers.breakers.redis.is_closed
    assert alone.tiers.redis.message(done.message.id) is None
    assert sum(alone.tiers.pending_log.backlog()) == 0


def test_what_went_with_a_lost_redis_is_named(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    own = Services(alone.settings)
    own.failover.lease.current()
    kept = own.messages.post(user, "t", Draft("user", "kept", {}, None)).message
    drain()
    lost = own.messages.post(user, "t", Draft("user", "lost", {}, None)).message
    edit = own.messages.edit(user, kept.id, content="lost", metadata=None, if_version=None).message
    assert own.failover.loss_audit.lost() == []
    alone.tiers.redis_client.flushall()
    assert own.failover.loss_audit.lost() == [(lost.id, 1), (edit.id, 2)]
    alone.failover.redis_recovery.adopt()
    own.failover.loss_audit.schedule()
    eventually(lambda: _lost_ids(alone) >= {lost.id, edit.id})


def _lost_ids(alone: Services) -> set[str]:
    query = text("SELECT message_id::text FROM lost_acknowledgements")
    with alone.tiers.job_engine.connect() as connection:
        return set(connection.execute(query).scalars())
