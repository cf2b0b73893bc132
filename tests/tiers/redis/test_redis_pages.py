"""The hot page: it claims to be complete only where it is."""

from models import codec, ids
from models.hot_page import HotPage
from models.message import Message
from storage.redis import keys
from storage.redis.messages import RedisTier
from storage.redis.repair import DISTRUST_SECONDS
from storage.redis.server import durability_of
from support.data.samples import append_of, message, revised
from wiring.process import Services


def page(tier: RedisTier, user: str, order: str = "asc", count: int = 100) -> HotPage:
    return tier.page(user, "t", ids.LOWEST, ids.HIGHEST, order, count)


def names(tier: RedisTier, user: str) -> list[str]:
    return [name for name, _ in page(tier, user).records]


def warm(tier: RedisTier, seen: str | None, floor: str, *found: Message) -> bool:
    first = found[0]
    records = [(one.id, codec.encode(one)) for one in found]
    return tier.warm(first.user_id, first.thread_id, records, seen_floor=seen, floor=floor)


def test_an_unknown_thread_claims_nothing(redis_tier: RedisTier, user: str) -> None:
    assert page(redis_tier, user) == HotPage(None, None, [])


def test_a_page_is_read_from_either_end_between_bounds(redis_tier: RedisTier, user: str) -> None:
    made = [message(user) for _ in range(6)]
    redis_tier.append([append_of(*made)], 60)
    found = [one.id for one in made]
    up = redis_tier.page(user, "t", found[0], found[5], "asc", 3)
    assert [name for name, _ in up.records] == found[1:4]
    down = redis_tier.page(user, "t", found[0], found[5], "desc", 3)
    assert [name for name, _ in down.records] == found[4:1:-1]


def test_a_record_that_has_left_is_told(redis_tier: RedisTier, user: str) -> None:
    one = message(user)
    redis_tier.append([append_of(one)], 60)
    redis_tier.client.delete(keys.message(redis_tier.slot_of_message(one.id), one.id))
    assert page(redis_tier, user).records == [(one.id, None)]


def test_warming_lowers_the_floor(redis_tier: RedisTier, user: str) -> None:
    older, newer = message(user), message(user)
    redis_tier.append([append_of(newer)], 60)
    assert warm(redis_tier, newer.id, ids.LOWEST, older)
    assert page(redis_tier, user).floor == ids.LOWEST
    assert names(redis_tier, user) == [older.id, newer.id]
    assert redis_tier.is_evictable(older.id)


def test_warming_does_nothing_once_the_floor_has_moved(redis_tier: RedisTier, user: str) -> None:
    older, newer = message(user), message(user)
    redis_tier.append([append_of(newer)], 60)
    # The reader saw no list at all, then somebody posted.
    assert not warm(redis_tier, None, ids.LOWEST, older)
    assert names(redis_tier, user) == [newer.id]
    assert redis_tier.message(older.id) is None


def test_warming_never_replaces_a_copy(redis_tier: RedisTier, user: str) -> None:
    first = message(user)
    second = revised(first)
    redis_tier.revise(second, expected_version=1)
    assert warm(redis_tier, None, ids.LOWEST, first)
    assert redis_tier.message(first.id) == codec.encode(second)
    assert not redis_tier.is_evictable(first.id)


def test_warming_brings_back_nothing_that_was_deleted_meanwhile(
    redis_tier: RedisTier, user: str
) -> None:
    one = message(user, metadata={"deleted_at": None})
    redis_tier.append([append_of(one)], 60)
    redis_tier.revise(revised(one, deleted=True), expected_version=1)
    assert warm(redis_tier, page(redis_tier, user).floor, ids.LOWEST, one)
    assert names(redis_tier, user) == []


def test_a_cold_list_that_is_warmed_expires(redis_tier: RedisTier, user: str) -> None:
    one = message(user)
    assert warm(redis_tier, None, ids.LOWEST, one)
    name = keys.index(redis_tier.slot_of_thread(user, "t"), user, "t")
    assert int(redis_tier.client.ttl(name)) > 0


def test_warming_gives_no_ttl_to_a_list_with_pending_messages(
    redis_tier: RedisTier, user: str
) -> None:
    older, newer = message(user), message(user)
    redis_tier.append([append_of(newer)], 60)
    warm(redis_tier, newer.id, ids.LOWEST, older)
    name = keys.index(redis_tier.slot_of_thread(user, "t"), user, "t")
    assert redis_tier.client.ttl(name) == -1


def test_a_distrusted_list_is_complete_nowhere(
    alone: Services, redis_tier: RedisTier, user: str
) -> None:
    one = message(user)
    redis_tier.append([append_of(one)], 60)
    alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
    assert page(redis_tier, user).is_distrusted
    assert names(redis_tier, user) == [one.id]
    assert page(redis_tier, user).records[0][1] is not None


def test_a_list_that_is_missing_is_distrusted_for_a_while(
    alone: Services, redis_tier: RedisTier, user: str
) -> None:
    older = message(user)
    alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
    # The reader saw no list, and read its page before the messages came in beside Redis.
    assert not warm(redis_tier, None, ids.LOWEST, older)
    assert page(redis_tier, user).is_distrusted
    assert page(redis_tier, user).records == []
    name = keys.index(redis_tier.slot_of_thread(user, "t"), user, "t")
    assert int(redis_tier.client.ttl(name)) > 0


def test_a_distrusted_list_takes_messages_all_the_same(
    alone: Services, redis_tier: RedisTier, user: str
) -> None:
    first, second = message(user), message(user)
    redis_tier.append([append_of(first)], 60)
    alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
    redis_tier.append([append_of(second)], 60)
    assert names(redis_tier, user) == [first.id, second.id]
    assert page(redis_tier, user).is_distrusted


def test_a_page_read_before_a_second_distrust_warms_nothing(
    alone: Services, redis_tier: RedisTier, user: str
) -> None:
    older = message(user)
    alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
    seen = page(redis_tier, user).floor
    alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
    assert not warm(redis_tier, seen, ids.LOWEST, older)
    assert warm(redis_tier, page(redis_tier, user).floor, ids.LOWEST, older)
    assert page(redis_tier, user).floor == ids.LOWEST


def test_forgotten_messages_are_gone_from_redis(
    alone: Services, redis_tier: RedisTier, user: str
) -> None:
    one, other = message(user), message(user)
    redis_tier.append([append_of(one, other)], 60)
    alone.tiers.redis_repair.evict([one.id])
    alone.tiers.redis_repair.evict([])
    assert redis_tier.message(one.id) is None
    assert redis_tier.message(other.id) is not None


def test_the_embedded_redis_promises_a_disk(alone: Services) -> None:
    assert durability_of(alone.tiers.redis_door) == "fsynced"


def test_a_redis_that_does_not_fsync_says_so(alone: Services) -> None:
    for name, value in (("appendfsync", "everysec"), ("no-appendfsync-on-rewrite", "yes")):
        before = alone.tiers.redis_client.config_get(name)[name]
        alone.tiers.redis_client.config_set(name, value)
        try:
            assert durability_of(alone.tiers.redis_door) == "memory"
        finally:
            alone.tiers.redis_client.config_set(name, before)


def test_an_index_that_is_distrusted_again_still_goes_soon(alone: Services, user: str) -> None:
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    name = keys.index(slot, user, "t")
    for _ in range(2):
        alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
        assert 0 < alone.tiers.redis_client.ttl(name) <= DISTRUST_SECONDS
    one = message(user)
    hot = alone.tiers.redis.page(user, "t", ids.LOWEST, ids.HIGHEST, "desc", 1)
    records = [(one.id, codec.encode(one))]
    assert alone.tiers.redis.warm(user, "t", records, seen_floor=hot.floor, floor=one.id)
    assert DISTRUST_SECONDS < alone.tiers.redis_client.ttl(name) <= alone.settings.hot_seconds
