"""New messages are in the cached page of a list at once: nobody reads PostgreSQL for them."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from storage.redis import keys
from storage.threads.page import ThreadList
from storage.threads.rows import ThreadRows
from support.data.thread_lists import Drain, begin_whole, figures, mark, page, post
from wiring.process import Services

pytestmark = pytest.mark.usefixtures("steady_lease")


@pytest.fixture(autouse=True)
def nobody_writes_beside_redis(alone: Services) -> None:
    begin_whole(alone)


@pytest.fixture
def listed(alone: Services, user: str, drain: Drain) -> Callable[..., ThreadList]:
    """Three threads with a page in Redis. Calling it gives the page, which must be from there and
    as it is where it is read anew."""
    for name in ("a", "b", "c"):
        post(alone, user, name, f"first of {name}")
    drain()
    page(alone, user)

    def found(source: str = "redis", **query: Any) -> ThreadList:
        cached = page(alone, user, **query)
        assert cached.source == source
        assert page(alone, user, **query) == cached._replace(source="redis")
        alone.tiers.redis_repair.invalidate_thread_lists([user])
        fresh = page(alone, user, **query)
        assert (fresh.threads, fresh.following) == (cached.threads, cached.following)
        return cached

    return found


@pytest.mark.parametrize("persisted", [False, True])
def test_a_new_message_is_in_the_page_at_once(
    alone: Services,
    user: str,
    drain: Drain,
    listed: Callable[..., ThreadList],
    persisted: bool,
) -> None:
    post(alone, user, "a", "second of a")
    last = post(alone, user, "a", "third of a")
    post(alone, user, "b", "x" * 300)
    if persisted:
        drain()
    found = listed()
    assert figures(found) == [
        ("b", 2, "x" * 200), ("a", 3, "third of a"), ("c", 1, "first of c")
    ]  # fmt: skip
    assert found.threads[1].last_message_at == last.created_at


def test_each_page_has_seen_its_own_changes(alone: Services, user: str, listed: Any) -> None:
    page(alone, user, limit=3)
    post(alone, user, "a", "second")
    assert figures(page(alone, user))[0] == ("a", 2, "second")
    post(alone, user, "c", "second")
    for limit in (3, 50):
        found = page(alone, user, limit=limit)
        assert (figures(found)[:2], found.source) == (
            [("c", 2, "second"), ("a", 2, "second")],
            "redis",
        )
    listed()


def test_the_last_of_a_page_that_goes_on_moves_up(alone: Services, user: str, listed: Any) -> None:
    alone.tiers.redis_repair.invalidate_thread_lists([user])
    page(alone, user, limit=2)
    post(alone, user, "b", "second")
    found = listed(limit=2)
    assert [one.id for one in found.threads] == ["b", "c"]
    assert found.following == (found.threads[1].last_message_at, "c")


@pytest.mark.parametrize("limit", [2, 50])
def test_a_thread_that_the_page_lacks_is_read(
    alone: Services, user: str, listed: Any, limit: int
) -> None:
    page(alone, user, limit=limit)
    post(alone, user, "a" if limit == 2 else "new", "another")
    assert listed("mixed", limit=limit).threads[0].last_message_preview == "another"


def test_nothing_else_is_read_for_it(
    alone: Services, user: str, listed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page(alone, user, limit=2)
    post(alone, user, "a", "another")
    with monkeypatch.context() as patch:
        patch.setattr(ThreadRows, "page", None)
        found = page(alone, user, limit=2)
    assert figures(found) == [("a", 2, "another"), ("c", 1, "first of c")]
    assert found.following == (found.threads[1].last_message_at, "c")


def test_a_message_that_nobody_can_have_followed_is_previewed_without_reading_its_thread(
    alone: Services, user: str, listed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an import an index is complete nowhere; PostgreSQL says how new its messages are."""
    page(alone, user, limit=2)
    alone.tiers.redis_repair.invalidate_indexes([(user, "a")])
    post(alone, user, "a", "another")
    with monkeypatch.context() as patch:
        patch.setattr(alone.failover.retrieval, "page", None)
        found = page(alone, user, limit=2)
    assert figures(found) == [("a", 2, "another"), ("c", 1, "first of c")]


def test_of_a_message_that_a_newer_one_followed_beside_redis_the_newer_is_previewed(
    alone: Services, user: str, drain: Drain, listed: Any
) -> None:
    post(alone, user, "b", "second")
    newest = post(alone, user, "b", "third")
    drain()
    slot = alone.tiers.redis.slot_of_thread(user, "b")
    alone.tiers.redis_client.zrem(keys.index(slot, user, "b"), newest.id)
    alone.tiers.redis_repair.invalidate_indexes([(user, "b")])
    alone.tiers.redis_repair.invalidate_thread_lists([user])
    mark(alone, user, "b", is_pinned=True)
    assert figures(page(alone, user))[0] == ("b", 3, "third")


def test_a_later_page_is_read(alone: Services, user: str, listed: Any) -> None:
    cursor = page(alone, user, limit=1).following
    page(alone, user, limit=1, cursor=cursor)
    post(alone, user, "b", "second")
    assert [one.id for one in listed("mixed", limit=1, cursor=cursor).threads] == ["a"]


def test_what_is_more_than_a_new_message_is_read(
    alone: Services, user: str, drain: Drain, listed: Any
) -> None:
    made = post(alone, user, "a", "second")
    alone.messages.delete(user, made.id, if_version=None)
    assert figures(listed("mixed"))[2] == ("a", 1, "first of a")
    page(alone, user)
    mark(alone, user, "b", is_pinned=True)
    post(alone, user, "b", "second")
    assert listed("mixed").threads[0].is_pinned
    drain()


def test_a_message_whose_copy_left_is_read(
    alone: Services, user: str, drain: Drain, listed: Any
) -> None:
    made = post(alone, user, "a", "second")
    drain()
    slot = alone.tiers.redis.slot_of_message(made.id)
    alone.tiers.redis_client.delete(keys.message(slot, made.id))
    assert figures(listed("mixed"))[0] == ("a", 2, "second")


def test_a_page_of_very_many_changes_is_given_up(alone: Services, user: str, listed: Any) -> None:
    for number in range(210):
        post(alone, user, f"n{number:03}")
    pages = keys.thread_pages(user)
    assert not alone.tiers.redis_client.hexists(pages, "generation")
    listed("mixed")
    assert alone.tiers.redis_client.hlen(pages) <= 3


def test_a_cached_page_is_the_page_after_any_writes(
    alone: Services, user: str, drain: Drain
) -> None:
    chance, made = random.Random(user), []
    for number in range(120):
        act = chance.choice(["post"] * 6 + ["edit", "delete", "drain"])
        if act == "post" or not made:
            made.append(post(alone, user, f"t{chance.randrange(5)}", f"message {number}"))
        elif act == "edit":
            edited = chance.choice(made).id
            text = f"edited {number}"
            alone.messages.edit(user, edited, content=text, metadata=None, if_version=None)
        elif act == "delete":
            deleted = made.pop(chance.randrange(len(made))).id
            alone.messages.delete(user, deleted, if_version=None)
        else:
            drain()
        cached = [page(alone, user, limit=limit) for limit in (3, 50)]
        alone.tiers.redis_repair.invalidate_thread_lists([user])
        for limit, one in zip((3, 50), cached, strict=True):
            fresh = page(alone, user, limit=limit)
            assert (one.threads, one.following) == (fresh.threads, fresh.following), (number, act)


def test_of_those_who_come_at_once_one_reads(
    alone: Services, user: str, listed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone.tiers.redis_repair.invalidate_thread_lists([user])
    rows = alone.thread_cache_manager._rows
    read, reads = rows.page, []

    def slow(*given: Any) -> Any:
        reads.append(given)
        time.sleep(0.1)
        return read(*given)

    monkeypatch.setattr(rows, "page", slow)
    found: list[ThreadList] = []
    readers = [threading.Thread(target=lambda: found.append(page(alone, user))) for _ in range(6)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(reads) == 1
    assert {str(one.threads) for one in found} == {str(found[0].threads)}
