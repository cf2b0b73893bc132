"""Versions in Redis: compared and set, and never evictable before PostgreSQL has them."""

from collections.abc import Callable

import pytest

from jobs.persist.drain import Drained
from models import codec, ids
from models.message import Message, Thread
from storage.errors import TierRejected, VersionConflict
from storage.redis import keys
from storage.redis.messages import RedisTier
from support.data.samples import append_of, message, revised


def ttl(tier: RedisTier, one: Message) -> int:
    return int(tier.client.ttl(keys.message(tier.slot_of_message(one.id), one.id)))


def index_ttl(tier: RedisTier, user: str) -> int:
    return int(tier.client.ttl(keys.index(tier.slot_of_thread(user, "t"), user, "t")))


def listed(tier: RedisTier, user: str) -> list[str]:
    page = tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 100)
    return [name for name, _ in page.records]


def thread(user: str, version: int = 1, *, deleted_through: str | None = None) -> Thread:
    moment = "2026-01-01T00:00:00.000000Z"
    return Thread(
        version=version,
        id="t",
        user_id=user,
        title=None,
        metadata={},
        created_at=moment,
        updated_at=moment,
        deleted_at=moment if deleted_through else None,
        deleted_through=deleted_through,
    )


def test_a_version_that_rests_on_another_is_refused(redis_tier: RedisTier, user: str) -> None:
    first = message(user)
    second, rival = revised(first), revised(first, deleted=True)
    redis_tier.append([append_of(first)], 60)
    redis_tier.revise(second, expected_version=1)
    with pytest.raises(VersionConflict) as caught:
        redis_tier.revise(rival, expected_version=1)
    assert codec.decode(caught.value.current) == second
    assert redis_tier.message(first.id) == codec.encode(second)
    assert redis_tier.client.xlen(keys.pending(redis_tier.slot_of_message(first.id))) == 2


def test_a_version_may_rest_on_a_copy_below(redis_tier: RedisTier, user: str) -> None:
    second = revised(message(user))
    assert redis_tier.revise(second, expected_version=1)
    assert redis_tier.message(second.id) == codec.encode(second)
    assert ttl(redis_tier, second) == -1


def test_a_tombstone_leaves_the_list(redis_tier: RedisTier, user: str) -> None:
    first, other = message(user), message(user)
    redis_tier.append([append_of(first, other)], 60)
    redis_tier.revise(revised(first, deleted=True), expected_version=1)
    assert listed(redis_tier, user) == [other.id]


def test_a_revision_fails_whole(redis_tier: RedisTier, user: str) -> None:
    first = message(user)
    redis_tier.append([append_of(first)], 60)
    log = keys.pending(redis_tier.slot_of_message(first.id))
    redis_tier.client.delete(log)
    redis_tier.client.set(log, "in the way")
    with pytest.raises(TierRejected):
        redis_tier.revise(revised(first), expected_version=1)
    assert redis_tier.message(first.id) == codec.encode(first)


def test_committed_copies_become_evictable(
    redis_tier: RedisTier, user: str, drain: Callable[[], Drained]
) -> None:
    first = message(user)
    redis_tier.append([append_of(first)], 60)
    assert not redis_tier.is_evictable(first.id)
    drain()
    assert redis_tier.is_evictable(first.id)
    assert 0 < ttl(redis_tier, first) <= 86_400
    assert 0 < index_ttl(redis_tier, user) <= 86_400


def test_an_edit_takes_the_ttl_away_until_it_is_committed_too(
    redis_tier: RedisTier, user: str, drain: Callable[[], Drained]
) -> None:
    first = message(user)
    redis_tier.append([append_of(first)], 60)
    drain()
    redis_tier.revise(revised(first), expected_version=1)
    assert ttl(redis_tier, first) == index_ttl(redis_tier, user) == -1
    drain()
    assert ttl(redis_tier, first) > 0
    assert index_ttl(redis_tier, user) > 0


def test_a_new_message_takes_the_ttl_of_the_list_away(
    redis_tier: RedisTier, user: str, drain: Callable[[], Drained]
) -> None:
    redis_tier.append([append_of(message(user))], 60)
    drain()
    redis_tier.append([append_of(message(user))], 60)
    assert index_ttl(redis_tier, user) == -1


def test_a_thread_is_created_once(redis_tier: RedisTier, user: str) -> None:
    redis_tier.put_thread(thread(user), expected_version=0)
    with pytest.raises(VersionConflict):
        redis_tier.put_thread(thread(user), expected_version=0)


def test_a_thread_that_messages_made_is_not_created_again(redis_tier: RedisTier, user: str) -> None:
    redis_tier.append([append_of(message(user))], 60)
    with pytest.raises(VersionConflict) as caught:
        redis_tier.put_thread(thread(user), expected_version=0)
    assert caught.value.current == b""


def test_a_change_that_rests_on_another_version_is_refused(
    redis_tier: RedisTier, user: str
) -> None:
    redis_tier.put_thread(thread(user), expected_version=0)
    redis_tier.put_thread(thread(user, 2), expected_version=1)
    with pytest.raises(VersionConflict) as caught:
        redis_tier.put_thread(thread(user, 2), expected_version=1)
    assert codec.decode_thread(caught.value.current).version == 2


def test_a_message_above_the_watermark_of_a_deletion_stays_listed(
    redis_tier: RedisTier, user: str
) -> None:
    # Posted after the watermark was made, and before the deletion came.
    below, above = message(user), message(user)
    redis_tier.append([append_of(below, above)], 60)
    redis_tier.put_thread(thread(user, 2, deleted_through=below.id), expected_version=1)
    assert listed(redis_tier, user) == [above.id]


def test_a_deletion_empties_the_list_and_leaves_a_watermark(
    redis_tier: RedisTier, user: str, drain: Callable[[], Drained]
) -> None:
    one = message(user)
    redis_tier.append([append_of(one)], 60)
    redis_tier.put_thread(thread(user, 2, deleted_through=one.id), expected_version=1)
    assert listed(redis_tier, user) == []
    assert redis_tier.thread(user, "t")[1] == one.id
    name = keys.watermark(redis_tier.slot_of_thread(user, "t"), user, "t")
    assert redis_tier.client.ttl(name) == -1
    drain()
