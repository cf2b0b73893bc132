"""After the commit: what is persisted becomes evictable, and nothing else does."""

from collections.abc import Callable

import msgspec

from jobs.persist.drain import Drained
from models import codec, ids
from models.message import Message
from storage.redis import keys
from storage.redis.messages import RedisTier
from storage.redis.pending_log import CommittedBatch, PendingLog
from support.data.samples import append_of, message, revised
from wiring.process import Services


def committed(log: PendingLog, tier: RedisTier, *versions: Message) -> CommittedBatch:
    """What a drain hands over that committed these versions and has read the whole log."""
    slot = tier.slot_of_message(versions[0].id)
    first = versions[0]
    return CommittedBatch(
        slot,
        [entry.entry_id for entry in log.read([slot], 100)],
        {keys.message(slot, one.id): one.version for one in versions},
        [keys.index(slot, first.user_id, first.thread_id)],
        {},
    )


def small_log(alone: Services, page: int) -> PendingLog:
    settings = msgspec.structs.replace(alone.settings, hot_page_messages=page)
    return PendingLog(alone.tiers.redis_door, settings)


def floor_of(tier: RedisTier, user: str) -> str | None:
    return tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 1).floor


def index_ttl(tier: RedisTier, user: str) -> int:
    return int(tier.client.ttl(keys.index(tier.slot_of_thread(user, "t"), user, "t")))


def listed(tier: RedisTier, user: str) -> list[str]:
    page = tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 100)
    return [name for name, _ in page.records]


def test_a_later_version_that_is_pending_keeps_no_ttl(alone: Services, user: str) -> None:
    first = message(user)
    alone.tiers.redis.append([append_of(first)], 60)
    done = committed(alone.tiers.pending_log, alone.tiers.redis, first)
    # The edit comes between the commit of the first version and its settling.
    second = revised(first)
    alone.tiers.redis.revise(second, expected_version=1)
    alone.tiers.pending_log.settle([done])
    assert sum(alone.tiers.pending_log.backlog()) == 1
    assert not alone.tiers.redis.is_evictable(first.id)
    assert index_ttl(alone.tiers.redis, user) == -1
    assert alone.tiers.redis.message(first.id) == codec.encode(second)


def test_the_list_keeps_no_ttl_while_its_newest_is_pending(alone: Services, user: str) -> None:
    first, second = message(user), message(user)
    alone.tiers.redis.append([append_of(first)], 60)
    done = committed(alone.tiers.pending_log, alone.tiers.redis, first)
    alone.tiers.redis.append([append_of(second)], 60)
    alone.tiers.pending_log.settle([done])
    assert alone.tiers.redis.is_evictable(first.id)
    assert not alone.tiers.redis.is_evictable(second.id)
    assert index_ttl(alone.tiers.redis, user) == -1


def test_settling_twice_changes_nothing(alone: Services, user: str) -> None:
    first = message(user)
    alone.tiers.redis.append([append_of(first)], 60)
    done = committed(alone.tiers.pending_log, alone.tiers.redis, first)
    for _ in range(2):
        alone.tiers.pending_log.settle([done])
        assert sum(alone.tiers.pending_log.backlog()) == 0
    assert listed(alone.tiers.redis, user) == [first.id]


def test_settling_forgets_its_own_entries_alone(alone: Services, user: str) -> None:
    first, second = message(user), message(user)
    alone.tiers.redis.append([append_of(first)], 60)
    done = committed(alone.tiers.pending_log, alone.tiers.redis, first)
    alone.tiers.redis.append([append_of(second)], 60)
    alone.tiers.pending_log.settle([done])
    assert sum(alone.tiers.pending_log.backlog()) == 1
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    (left,) = alone.tiers.pending_log.read([slot], 10)
    assert left.record == codec.encode(second)


def test_a_long_list_is_cut_and_says_so(alone: Services, user: str) -> None:
    made = [message(user) for _ in range(8)]
    log = small_log(alone, page=3)
    alone.tiers.redis.append([append_of(*made)], 60)
    log.settle([committed(log, alone.tiers.redis, *made)])
    assert listed(alone.tiers.redis, user) == [one.id for one in made[5:]]
    # Complete only from here on: below the floor a reader must ask PostgreSQL.
    assert floor_of(alone.tiers.redis, user) == made[5].id


def test_what_is_pending_is_never_cut(alone: Services, user: str) -> None:
    made = [message(user) for _ in range(8)]
    log = small_log(alone, page=3)
    alone.tiers.redis.append([append_of(*made)], 60)
    log.settle([committed(log, alone.tiers.redis, *made[:2])])
    assert listed(alone.tiers.redis, user) == [one.id for one in made[2:]]
    assert floor_of(alone.tiers.redis, user) == made[2].id


def test_a_short_list_is_not_cut(alone: Services, user: str) -> None:
    made = [message(user) for _ in range(3)]
    log = small_log(alone, page=3)
    alone.tiers.redis.append([append_of(*made)], 60)
    log.settle([committed(log, alone.tiers.redis, *made)])
    assert listed(alone.tiers.redis, user) == [one.id for one in made]
    assert floor_of(alone.tiers.redis, user) == made[0].id


def test_the_watermark_of_a_later_deletion_keeps_no_ttl(alone: Services, user: str) -> None:
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    name = keys.watermark(slot, user, "t")
    older, newer = message(user).id, message(user).id
    alone.tiers.redis_client.set(name, newer)
    alone.tiers.pending_log.settle([CommittedBatch(slot, [], {}, [], {name: older})])
    assert alone.tiers.redis_client.ttl(name) == -1
    alone.tiers.pending_log.settle([CommittedBatch(slot, [], {}, [], {name: newer})])
    assert int(alone.tiers.redis_client.ttl(name)) > 0


def test_the_age_of_the_log_is_that_of_its_oldest_entry(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    assert alone.tiers.pending_log.oldest_pending_us() is None
    assert sum(alone.tiers.pending_log.backlog()) == 0
    one = message(user)
    alone.tiers.redis.append([append_of(one)], 60)
    oldest_us = alone.tiers.pending_log.oldest_pending_us()
    assert oldest_us is not None
    assert abs(oldest_us - ids.time_us_of(one.id)) < 60_000_000
    assert sum(alone.tiers.pending_log.backlog()) == 1
    drain()
    assert alone.tiers.pending_log.oldest_pending_us() is None
