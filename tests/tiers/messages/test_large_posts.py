"""What is large goes to a tier in parts: in order, each message once, whoever writes meanwhile."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jobs.persist.drain import Drained
from models import ids
from models.appends import Append
from storage.clickhouse import direct_writes
from storage.errors import TierUnavailable
from storage.messages.failover_service import PART_BYTES
from storage.messages.posts import Draft
from support.faults.outages import listed, page, post, process, rows, without
from support.faults.slowness import each_takes
from wiring.process import Services

PART = 4_000
LONG = "long " * 200


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part has room for about three of what the tests post."""
    for tier in PART_BYTES:
        monkeypatch.setitem(PART_BYTES, tier, PART)


def drafts(count: int, *, keyed: bool = False) -> list[Draft]:
    return [
        Draft("user", f"{number:02} {LONG}", {}, f"k{number}" if keyed else None)
        for number in range(count)
    ]


def numbers(own: Services, user: str) -> list[str]:
    return [content.split()[0] for content in listed(own, user)]


def asked(
    own: Services, monkeypatch: pytest.MonkeyPatch, before: Callable[[int], Any]
) -> list[int]:
    """How many messages each call to Redis brings; `before` each it is called with its number."""
    counts: list[int] = []
    append = own.tiers.redis.append

    def noting(appends: Sequence[Append], seconds: int) -> Any:
        before(len(counts))
        counts.append(sum(len(one.messages) for one in appends))
        return append(appends, seconds)

    monkeypatch.setattr(own.tiers.redis, "append", noting)
    return counts


def test_a_large_post_is_several_calls_and_its_messages_are_there_once_in_order(
    alone: Services, user: str, drain: Callable[[], Drained], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = without(alone)
    counts = asked(own, monkeypatch, lambda _: None)
    (done,) = own.messages.post_batch(user, [("t", drafts(10))])
    assert sum(counts) == 10
    assert max(counts) <= 3
    assert [one.message.content for one in done] == [one.content for one in drafts(10)]
    assert numbers(own, user) == [f"{number:02}" for number in range(10)]
    drain()
    assert len(rows(alone, user)) == 10


def test_who_posts_between_two_parts_stands_between_them_and_no_message_is_there_twice(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = without(alone), without(alone)
    asked(own, monkeypatch, lambda call: call == 1 and post(other, user, "between"))
    (done,) = own.messages.post_batch(user, [("t", drafts(10))])
    shown = numbers(own, user)
    assert [name for name in shown if name != "between"] == [f"{n:02}" for n in range(10)]
    assert "between" in shown[1:-1]
    assert [one.id for one in page(own, user) if one.content != "between"] == [
        one.message.id for one in done
    ]


def test_a_post_of_several_threads_keeps_each_of_them_whole(alone: Services, user: str) -> None:
    own = without(alone)
    groups = [(name, drafts(5)) for name in ("t", "u", "v")]
    done = own.messages.post_batch(user, groups)
    for (name, given), acknowledged in zip(groups, done, strict=True):
        assert [one.message.thread_id for one in acknowledged] == [name] * 5
        assert [one.message.content for one in acknowledged] == [one.content for one in given]


def test_what_redis_did_not_take_any_more_is_taken_below_and_a_repeat_gives_the_same(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch, brought_home: None
) -> None:
    own = without(alone)

    def fails(call: int) -> None:
        if call == 1:
            raise TierUnavailable("redis", "it did not answer in time", late=True)

    asked(own, monkeypatch, fails)
    (done,) = own.messages.post_batch(user, [("t", drafts(10, keyed=True))])
    assert {one.tier_used for one in done} == {"redis", "postgresql"}
    assert numbers(own, user) == [f"{number:02}" for number in range(10)]
    (again,) = own.messages.post_batch(user, [("t", drafts(10, keyed=True))])
    assert [one.message.id for one in again] == [one.message.id for one in done]
    assert len(listed(own, user)) == 10


def test_a_repeat_sends_nothing_large_that_redis_has(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.resilience.budget.LARGE_BYTES", 1_000)
    own = without(alone)
    (done,) = own.messages.post_batch(user, [("t", drafts(10, keyed=True))])
    counts = asked(own, monkeypatch, lambda _: None)
    (again,) = own.messages.post_batch(user, [("t", drafts(12, keyed=True))])
    assert [one.message.id for one in again[:10]] == [one.message.id for one in done]
    assert sum(counts) == 2
    assert numbers(own, user) == [f"{number:02}" for number in range(12)]


@pytest.mark.parametrize("out", [("redis",), ("redis", "database")])
def test_the_other_tiers_take_it_in_parts_too(
    alone: Services, user: str, out: tuple[str, ...], brought_home: None
) -> None:
    own = without(alone, *out)
    (done,) = own.messages.post_batch(user, [("t", drafts(10))])
    assert [one.message.content for one in done] == [one.content for one in drafts(10)]
    assert numbers(without(alone), user) == [f"{number:02}" for number in range(10)]


def test_what_is_too_much_for_postgresql_comes_home_in_smaller_bites(
    alone: Services, user: str, brought_home: None
) -> None:
    own = without(alone, "redis", "database")
    count = 40
    given = [Draft("user", f"{number:02} {'x' * 13_000}", {}) for number in range(count)]
    own.messages.post_batch(user, [("t", given)])
    assert direct_writes.count_direct_writes(alone.tiers.job_clickhouse) == count
    home = process(alone, database_timeout_seconds=1.0)
    with each_takes(alone, "messages", "INSERT", 0.04):
        with pytest.raises(TierUnavailable):
            home.failover.handoff.replay()
        # Of itself it would be as much again, and too much again.
        for _ in range(3):
            try:
                home.failover.handoff.replay()
            except TierUnavailable:
                continue
            break
    assert len(rows(alone, user)) == count


def test_a_large_page_is_warmed_in_parts(
    alone: Services, user: str, drain: Callable[[], Drained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.redis.messages.MOST_BYTES", PART)
    alone.messages.post_batch(user, [("t", drafts(10))])
    drain()
    alone.tiers.redis_client.flushall()
    alone.failover.redis_recovery.adopt()
    assert list(alone.failover.redis_recovery.warm(user, "t")) == [10]
    hot = alone.tiers.redis.page(user, "t", ids.LOWEST, ids.HIGHEST, "desc", 20)
    assert [record is not None for _, record in hot.records] == [True] * 10


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_large_page_is_read_in_parts(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr("storage.redis.messages.NAMES_AT_ONCE", 3)
    alone.messages.post_batch(user, [("t", drafts(10))])
    whole = alone.tiers.redis.page(user, "t", ids.LOWEST, ids.HIGHEST, order, 20)
    shown = [name for name, _ in whole.records]
    assert (len(shown), shown) == (10, sorted(shown, reverse=order == "desc"))
    part = alone.tiers.redis.page(user, "t", ids.LOWEST, ids.HIGHEST, order, 7)
    assert part.records == whole.records[:7]
    assert (part.floor, part.watermark) == (whole.floor, whole.watermark)
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    assert alone.tiers.redis.messages(slot, shown) == [record for _, record in whole.records]
    assert alone.tiers.redis.page(user, "u", ids.LOWEST, ids.HIGHEST, order, 7).records == []
