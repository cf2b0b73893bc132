"""Acknowledging new messages in Redis: all of them or none, each of them once."""

import time
from collections.abc import Callable

import pytest
from redis import Redis

from jobs.persist.drain import Drained
from models import ids
from models.appends import Append, IdTooOld, NewMessage, Stored
from storage.errors import TierError, TierRejected
from storage.redis import keys
from storage.redis.messages import RedisTier
from support.data.samples import append_of, message

KEEP_SECONDS = 60


def append(tier: RedisTier, one: Append) -> Stored | IdTooOld:
    (answer,) = tier.append([one], KEEP_SECONDS)
    if isinstance(answer, TierError):
        raise answer
    return answer


def everything(client: Redis) -> dict[bytes, bytes]:
    """All of Redis, byte for byte."""
    found: list[bytes] = list(client.scan_iter())
    return {name: client.dump(name) for name in found}  # type: ignore[misc]


def test_a_message_is_in_the_log_the_index_and_by_id(redis_tier: RedisTier, user: str) -> None:
    one = message(user)
    stored = append(redis_tier, append_of(one))
    assert stored == Stored([one.id], wake=True)
    slot = redis_tier.slot_of_thread(user, "t")
    assert redis_tier.client.xlen(keys.pending(slot)) == 1
    page = redis_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "desc", 10)
    assert [name for name, _ in page.records] == [one.id]
    assert page.floor == one.id
    assert redis_tier.message(one.id) == page.records[0][1]


def test_nothing_has_a_ttl_before_it_is_in_postgresql(redis_tier: RedisTier, user: str) -> None:
    # What Redis was told when it was adopted is not of this message.
    before = set(redis_tier.client.scan_iter())
    append(redis_tier, append_of(message(user)))
    slot = redis_tier.slot_of_thread(user, "t")
    ttls = {name: redis_tier.client.ttl(name) for name in redis_tier.client.scan_iter()}
    ttls = {name: left for name, left in ttls.items() if name not in before}
    # The flag is only a hint, and must expire should its task get lost.
    assert ttls.pop(keys.drain(slot).encode()) > 0
    assert set(ttls.values()) == {-1}


@pytest.mark.parametrize("place", ["index", "pending", "drain", "watermark", "idempotency"])
def test_a_key_of_the_wrong_type_leaves_no_trace(
    redis_tier: RedisTier, user: str, place: str
) -> None:
    slot = redis_tier.slot_of_thread(user, "t")
    in_the_way = {
        "index": keys.index(slot, user, "t"),
        "pending": keys.pending(slot),
        "drain": keys.drain(slot),
        "watermark": keys.watermark(slot, user, "t"),
        "idempotency": keys.idempotency(slot, user, "t", "key"),
    }[place]
    redis_tier.client.hset(in_the_way, "wrong", "type")
    before = everything(redis_tier.client)
    with pytest.raises(TierRejected):
        append(redis_tier, append_of(message(user), message(user), key="key"))
    assert everything(redis_tier.client) == before


def test_a_slot_is_woken_once_in_so_long_and_then_anew(
    redis_tier: RedisTier,
    user: str,
    drain: Callable[[], Drained],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("storage.redis.messages.DRAIN_FLAG_MILLISECONDS", 700)
        answers = [append(redis_tier, append_of(message(user))) for _ in range(3)]
    assert [answer.wake for answer in answers if isinstance(answer, Stored)] == [True, False, False]
    drain()
    # A worker that has just drained it waits for its next entry: a task would tell it nothing.
    again = append(redis_tier, append_of(message(user)))
    assert isinstance(again, Stored)
    assert not again.wake
    time.sleep(0.8)
    later = append(redis_tier, append_of(message(user)))
    assert isinstance(later, Stored)
    assert later.wake, "a wake-up that was lost must be repeated"


def test_an_id_that_is_not_the_newest_is_sent_back(redis_tier: RedisTier, user: str) -> None:
    older, newer, newest = (message(user) for _ in range(3))
    append(redis_tier, append_of(newer))
    before = everything(redis_tier.client)
    # One that is behind takes those of its batch that are not with it.
    assert append(redis_tier, append_of(older, newest)) == IdTooOld(newer.id)
    assert append(redis_tier, append_of(newer)) == IdTooOld(newer.id)
    assert everything(redis_tier.client) == before


def test_an_id_under_the_watermark_is_sent_back(redis_tier: RedisTier, user: str) -> None:
    one, mark = message(user), message(user)
    slot = redis_tier.slot_of_thread(user, "t")
    redis_tier.client.set(keys.watermark(slot, user, "t"), mark.id)
    assert append(redis_tier, append_of(one)) == IdTooOld(mark.id)
    assert redis_tier.message(one.id) is None


def test_the_same_key_makes_one_message(redis_tier: RedisTier, user: str) -> None:
    first, second = message(user), message(user)
    append(redis_tier, append_of(first, key="key"))
    before = everything(redis_tier.client)
    assert append(redis_tier, append_of(second, key="key")) == Stored([first.id], wake=False)
    assert everything(redis_tier.client) == before


def test_the_same_key_twice_in_a_batch_makes_one_message(redis_tier: RedisTier, user: str) -> None:
    first, second, third = (message(user) for _ in range(3))
    batch = append_of(first, second, key="key")
    batch = batch._replace(messages=[*batch.messages, NewMessage(third.id, b"{}", None)])
    assert append(redis_tier, batch) == Stored([first.id, first.id, third.id], wake=True)
    assert redis_tier.message(second.id) is None
    slot = redis_tier.slot_of_thread(user, "t")
    assert redis_tier.client.xlen(keys.pending(slot)) == 2


def test_a_repeated_key_beside_a_new_message(redis_tier: RedisTier, user: str) -> None:
    first, again, fresh = (message(user) for _ in range(3))
    append(redis_tier, append_of(first, key="key"))
    batch = append_of(again, key="key")
    batch = batch._replace(messages=[*batch.messages, *append_of(fresh).messages])
    assert append(redis_tier, batch) == Stored([first.id, fresh.id], wake=False)
    assert redis_tier.message(again.id) is None
    assert redis_tier.message(fresh.id) is not None


def test_a_key_is_the_users_and_the_threads_own(redis_tier: RedisTier, user: str) -> None:
    made = [message(user, "a"), message(user, "b"), message(f"{user}-other", "a")]
    for one in made:
        answer = append(redis_tier, append_of(one, key="key"))
        assert isinstance(answer, Stored)
        assert answer.ids == [one.id]


def test_a_key_is_forgotten_in_time(redis_tier: RedisTier, user: str) -> None:
    append(redis_tier, append_of(message(user), key="key"))
    name = keys.idempotency(redis_tier.slot_of_thread(user, "t"), user, "t", "key")
    assert 0 < int(redis_tier.client.ttl(name)) <= KEEP_SECONDS


def test_a_thousand_messages_are_one_write(redis_tier: RedisTier, user: str) -> None:
    made = [message(user) for _ in range(1000)]
    answer = append(redis_tier, append_of(*made))
    assert answer == Stored([one.id for one in made], wake=True)
    page = redis_tier.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 2000)
    assert [name for name, _ in page.records] == [one.id for one in made]
    assert page.floor == made[0].id


def test_several_threads_answer_for_themselves(redis_tier: RedisTier, user: str) -> None:
    newer = message(user, "a")
    append(redis_tier, append_of(newer))
    late, fine = message(user, "a", time_us=ids.time_us_of(newer.id) - 1), message(user, "b")
    answers = redis_tier.append([append_of(late), append_of(fine)], KEEP_SECONDS)
    assert answers == [IdTooOld(newer.id), Stored([fine.id], wake=answers[1].wake)]
    assert redis_tier.message(fine.id) is not None
    assert redis_tier.message(late.id) is None


def test_scripts_that_redis_forgot_are_loaded_again(redis_tier: RedisTier, user: str) -> None:
    redis_tier.client.script_flush()
    assert isinstance(append(redis_tier, append_of(message(user))), Stored)
