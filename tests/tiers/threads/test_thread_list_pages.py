"""Pages of the list of threads in Redis: who is warmed, what goes with whom, how much there is."""

from typing import Any

import msgspec
import pytest

from storage.redis import keys
from storage.threads.page import FIRST_PAGE
from support.calls.erasing import erase
from support.data.everywhere import in_redis
from support.data.thread_lists import Drain, begin_whole, figures, one, page, post
from wiring.process import Services

pytestmark = pytest.mark.usefixtures("steady_lease")


@pytest.fixture(autouse=True)
def nobody_writes_beside_redis(alone: Services) -> None:
    begin_whole(alone)


def test_lists_of_active_users_are_warmed(alone: Services, user: str, drain: Drain) -> None:
    manager = alone.thread_cache_manager
    post(alone, user, "t", "one")
    drain()
    # Who wrote and never listed; and who listed, whenever they wrote.
    assert manager.warm_active() >= 1
    assert page(alone, user).source == "redis"
    page(alone, user + "-other")
    alone.tiers.redis_repair.invalidate_thread_lists([user + "-other"])
    assert manager.warm_active() >= 1
    assert page(alone, user + "-other").source == "redis"
    assert manager.warm([user, user + "-other"]) == 0
    assert alone.tiers.redis_client.zscore(keys.ACTIVE_LISTS, user) is not None


def test_an_erased_user_leaves_no_page_behind(
    alone: Services, user: str, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(alone, user, "t", "to be forgotten")
    drain()
    manager = alone.thread_cache_manager
    store = manager._pages.store

    def erase_before(*given: Any) -> bool:
        monkeypatch.undo()
        erase(alone, user)
        # Somebody reads meanwhile and begins a generation, and this one has it too.
        generation = manager._pages.open(user, FIRST_PAGE).generation
        return store(user, given[1], msgspec.structs.replace(given[2], generation=generation))

    monkeypatch.setattr(manager._pages, "store", erase_before)
    page(alone, user)
    assert list(in_redis(alone, "to be forgotten")) == []
    assert page(alone, user).threads == []


def test_a_key_of_somebody_else_keeps_nobody_from_their_threads(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "one")
    drain()
    alone.tiers.redis_client.set(keys.thread_pages(user), "not a hash")
    assert figures(page(alone, user)) == [("t", 1, "one")]


def test_many_pages_of_one_user_take_no_more_than_their_room(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "one")
    drain()
    for limit in range(1, 60):
        page(alone, user, limit=limit)
    page(alone, user)
    assert alone.tiers.redis_client.hlen(keys.thread_pages(user)) <= 20
    assert 0 < alone.tiers.redis_client.ttl(keys.thread_pages(user)) <= 600


def test_no_page_that_nobody_asks_for_keeps_what_was_deleted(
    alone: Services, user: str, drain: Drain
) -> None:
    made = post(alone, user, "t", "to be deleted")
    drain()
    for limit in (1, 2, 3):
        page(alone, user, limit=limit)
    page(alone, user)
    alone.messages.delete(user, made.id, if_version=None)
    drain()
    assert set(in_redis(alone, "to be deleted")) == {keys.thread_pages(user)}
    # The next who asks, or the worker that warms, puts another in its place.
    alone.thread_cache_manager.warm([user])
    assert list(in_redis(alone, "to be deleted")) == []


def test_a_page_that_is_read_again_has_redis_write_nothing(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "one")
    drain()
    page(alone, user)
    before = alone.tiers.redis_client.zscore(keys.ACTIVE_LISTS, user)
    alone.tiers.redis_client.config_resetstat()
    for _ in range(3):
        assert page(alone, user).source == "redis"
    called = alone.tiers.redis_client.info("commandstats")
    assert not called.keys() & {"cmdstat_zadd", "cmdstat_expire", "cmdstat_hset"}
    # What was noted long ago is noted anew.
    alone.tiers.redis_client.zadd(keys.ACTIVE_LISTS, {user: 1.0})
    page(alone, user)
    assert (alone.tiers.redis_client.zscore(keys.ACTIVE_LISTS, user) or 0) >= (before or 1) > 1


def test_a_time_that_two_threads_share_parts_them_by_name(
    alone: Services, user: str, drain: Drain
) -> None:
    with alone.tiers.job_engine.begin() as connection:
        for name in ("B", "a", "_"):
            connection.exec_driver_sql(
                "INSERT INTO threads (user_id, id, created_at, updated_at, version)"
                " VALUES (%s, %s, '2026-01-01', '2026-01-01', 1)",
                (user, name),
            )
    wanted = ["a", "_", "B"]
    found = [page(alone, user, limit=1)]
    while found[-1].following:
        found.append(page(alone, user, limit=1, cursor=found[-1].following))
    assert [one(part).id for part in found] == wanted
    assert [summary.id for summary in page(alone, user, limit=3).threads] == wanted
