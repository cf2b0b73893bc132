"""The list of threads: right with every write, from Redis while nothing was written, and with
whichever tier is out."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from models import ids
from models.message import ThreadSummary
from storage import redis_keys as keys
from storage.errors import NotFound, NoTierAvailable
from storage.message_storage import Draft
from storage.persistence import Drained
from storage.services import Services
from storage.thread_list.page import FIRST_PAGE, ThreadList
from support.erasing import erase
from support.everywhere import in_redis
from support.moving import archived
from support.outages import without
from support.waiting import eventually

Drain = Callable[[], Drained]


def post(own: Services, user: str, thread: str, content: str = "hello") -> Any:
    return own.messages.post(user, thread, Draft("user", content, {}, None)).message


def page(own: Services, user: str, **query: Any) -> ThreadList:
    return own.thread_cache_manager.page(user, FIRST_PAGE._replace(**query))


def figures(found: ThreadList) -> list[tuple[str, int, str | None]]:
    return [(one.id, one.message_count, one.last_message_preview) for one in found.threads]


def one(found: ThreadList) -> ThreadSummary:
    (summary,) = found.threads
    return summary


def mark(own: Services, user: str, thread: str, **marks: bool) -> None:
    own.threads.change(user, thread, title=msgspec.UNSET, metadata=msgspec.UNSET, **marks)


def end_detours(alone: Services) -> None:
    """As if everybody who wrote beside Redis had found it again a while ago."""
    with alone.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM redis_detours"))


@pytest.fixture(autouse=True)
def nobody_writes_beside_redis(alone: Services) -> None:
    end_detours(alone)
    alone.redis_recovery.tend()
    eventually(lambda: alone.lease.standing().redis_whole)


def test_what_was_written_a_moment_ago_is_listed_with_its_figures(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "a", "one")
    drain()
    post(alone, user, "b", "two")
    last = post(alone, user, "a", "three")
    alone.threads.create(user, "named", "a title", {"n": 1})
    found = page(alone, user)
    wanted = [("named", 0, None), ("a", 2, "three"), ("b", 1, "two")]
    assert figures(found) == wanted
    assert found.threads[0].title == "a title"
    assert found.threads[1].last_message_at == last.created_at
    drain()
    # And no differently once all of it is committed.
    assert page(alone, user).threads == found.threads


def test_edits_and_deletions_count_before_they_are_committed(
    alone: Services, user: str, drain: Drain
) -> None:
    made = [post(alone, user, "t", f"message {number}") for number in range(4)]
    drain()
    alone.messages.delete(user, made[3].id, if_version=None)
    alone.messages.edit(user, made[2].id, content="edited", metadata=None, if_version=None)
    assert figures(page(alone, user)) == [("t", 3, "edited")]
    drain()
    assert figures(page(alone, user)) == [("t", 3, "edited")]
    for message in made[:3]:
        alone.messages.delete(user, message.id, if_version=None)
    assert figures(page(alone, user)) == [("t", 0, None)]
    drain()
    assert figures(page(alone, user)) == [("t", 0, None)]


def test_a_deleted_thread_is_gone_and_comes_back_empty(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "old")
    mark(alone, user, "t", is_pinned=True)
    drain()
    alone.threads.delete(user, "t")
    assert page(alone, user).threads == []
    post(alone, user, "t", "new")
    for _ in range(2):
        found = one(page(alone, user))
        assert (found.message_count, found.last_message_preview) == (1, "new")
        assert not found.is_pinned
        drain()


@pytest.mark.parametrize("persisted", [False, True])
def test_one_thread_shows_what_the_list_shows(
    alone: Services, user: str, drain: Drain, persisted: bool
) -> None:
    for number in range(3):
        post(alone, user, "t", f"message {number}")
    mark(alone, user, "t", is_archived=True)
    if persisted:
        drain()
    assert alone.threads.get(user, "t") == one(page(alone, user))
    with pytest.raises(NotFound):
        alone.threads.get(user, "none")


def test_a_page_comes_from_redis_until_something_is_written(
    alone: Services, user: str, drain: Drain
) -> None:
    first = post(alone, user, "t", "one")
    drain()
    assert page(alone, user).source == "postgresql"

    def is_warm() -> bool:
        return page(alone, user).source == "redis"

    assert is_warm()
    writes: list[Callable[[], object]] = [
        lambda: post(alone, user, "t", "two"),
        lambda: alone.messages.edit(user, first.id, content="1", metadata=None, if_version=None),
        lambda: alone.messages.delete(user, first.id, if_version=None),
        lambda: mark(alone, user, "t", is_pinned=True),
        lambda: alone.threads.create(user, "u", None, {}),
        lambda: alone.threads.delete(user, "u"),
        drain,
    ]
    for write in writes:
        page(alone, user)
        assert is_warm()
        write()
        assert not is_warm()
    page(alone, user + "-other")
    page(alone, user)
    post(alone, user + "-other", "t")
    assert is_warm()


def test_a_write_while_a_page_is_read_leaves_no_stale_page(
    alone: Services, user: str, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(alone, user, "t", "one")
    drain()
    manager = alone.thread_cache_manager
    read = manager._rows.page

    def write_behind(*given: Any) -> Any:
        # PostgreSQL has answered, and the page is not stored yet.
        found = read(*given)
        monkeypatch.undo()
        post(alone, user, "t", "two")
        page(alone, user)
        return found

    monkeypatch.setattr(manager._rows, "page", write_behind)
    page(alone, user)
    # Nor is the page gone that somebody else read after the write.
    found = page(alone, user)
    assert (figures(found), found.source) == ([("t", 2, "two")], "redis")
    drain()
    assert figures(page(alone, user)) == [("t", 2, "two")]


def test_pages_join_over_committed_and_uncommitted_threads(
    alone: Services, user: str, drain: Drain
) -> None:
    for number in range(10):
        post(alone, user, f"t{number}")
        if number == 6:
            drain()
    post(alone, user, "t2", "again")
    names: list[str] = []
    cursor = None
    while True:
        found = page(alone, user, limit=3, cursor=cursor)
        names += [summary.id for summary in found.threads]
        cursor = found.following
        if cursor is None:
            break
    assert names == ["t2", "t9", "t8", "t7", "t6", "t5", "t4", "t3", "t1", "t0"]


@pytest.mark.parametrize("persisted", [False, True])
def test_marks_are_kept_and_asked_for(
    alone: Services, user: str, drain: Drain, persisted: bool
) -> None:
    for name in ("a", "b", "c"):
        post(alone, user, name)
    mark(alone, user, "a", is_pinned=True)
    mark(alone, user, "b", is_pinned=True, is_archived=True)
    mark(alone, user, "b", is_pinned=False)
    if persisted:
        drain()

    def names(**query: bool) -> list[str]:
        return [summary.id for summary in page(alone, user, **query).threads]

    assert names() == ["c", "b", "a"]
    assert names(is_pinned=True) == ["a"]
    assert names(is_archived=True) == ["b"]
    assert names(is_archived=False) == ["c", "a"]
    assert names(is_archived=False, is_pinned=False) == ["c"]


def test_archived_messages_are_previewed_and_counted(
    alone: Services, user: str, drain: Drain
) -> None:
    old = []
    for number in range(3):
        old.append(post(alone, user, "old", f"message {number}"))
        # Of two within one millisecond PostgreSQL would know the newer one by the thread's time.
        eventually(lambda: alone.clock.now_us() // 1000 > ids.time_us_of(old[-1].id) // 1000)
    drain()
    alone.replication.ship_all()
    rows = [{"id": made.id, "user_id": user, "thread_id": "old"} for made in old]
    with archived(alone, rows):
        new = post(alone, user, "new", "a new one")
        drain()
        found = page(alone, user)
        assert figures(found) == [("new", 1, "a new one"), ("old", 3, "message 2")]
        assert found.source == "mixed"
        assert page(alone, user).source == "redis"
        # The archive says so; PostgreSQL knows first that it no longer holds.
        alone.messages.delete(user, old[2].id, if_version=None)
        drain()
        assert figures(page(alone, user)) == [("new", 1, "a new one"), ("old", 2, "message 1")]
        alone.messages.edit(user, old[1].id, content="edited", metadata=None, if_version=None)
        drain()
        assert figures(page(alone, user))[1] == ("old", 2, "edited")
        alone.redis_repair.outdate([user])
        lost = page(without(alone, "clickhouse"), user)
        assert lost.warning == "incomplete_clickhouse_unavailable"
        assert figures(lost)[0] == ("new", 1, new.content)
        assert page(alone, user).warning is None


def test_without_postgresql_redis_shows_what_it_knows(
    alone: Services, user: str, drain: Drain
) -> None:
    lost = without(alone, "database")
    with pytest.raises(NoTierAvailable):
        page(lost, user)
    for name in ("a", "b", "c"):
        post(alone, user, name, f"in {name}")
    alone.threads.create(user, "d", "titled", {})
    drain()
    page(alone, user)
    post(alone, user, "a", "newer")
    alone.threads.delete(user, "b")
    post(alone, user, "e", "first")
    found = page(lost, user)
    assert found.warning == "degraded_mode_postgresql_unavailable"
    assert figures(found) == [
        ("e", 1, "first"),
        ("a", 2, "newer"),
        ("d", 0, None),
        ("c", 1, "in c"),
    ]
    assert found.threads[2].title == "titled"
    # A part that nobody asked for before is made of what there is.
    part = page(lost, user, limit=2)
    assert [summary.id for summary in part.threads] == ["e", "a"]
    rest = page(lost, user, limit=2, cursor=part.following)
    assert [summary.id for summary in rest.threads] == ["d", "c"]
    assert page(alone, user).threads == found.threads


def test_without_redis_postgresql_answers(alone: Services, user: str, drain: Drain) -> None:
    post(alone, user, "t", "committed")
    drain()
    found = page(without(alone, "redis"), user)
    assert found.warning == "degraded_performance_redis_unavailable"
    assert figures(found) == [("t", 1, "committed")]
    with pytest.raises(NoTierAvailable):
        page(without(alone, "redis", "database"), user)


def test_right_after_an_outage_of_redis_no_page_hides_what_was_written_beside_it(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "before")
    drain()
    page(alone, user)
    assert page(alone, user).source == "redis"
    other = without(alone, "redis")
    post(other, user, "t", "meanwhile")
    post(other, user, "u", "new")
    wanted = [("u", 1, "new"), ("t", 2, "meanwhile")]
    # Redis has not been told yet, and a page that is read now is no better than the one before.
    for _ in range(2):
        found = page(Services(alone.settings), user)
        assert (figures(found), found.source) == (wanted, "postgresql")
    post(alone, user, "t", "after")
    assert figures(page(Services(alone.settings), user)) == [("t", 3, "after"), ("u", 1, "new")]
    drain()
    alone.redis_recovery.tend()
    end_detours(alone)
    fresh = Services(alone.settings)
    for _ in range(2):
        assert figures(page(fresh, user)) == [("t", 3, "after"), ("u", 1, "new")]
    assert page(fresh, user).source == "redis"


def test_a_redis_that_lost_its_last_moments_shows_no_page_from_before(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "one")
    drain()
    page(alone, user)
    before = alone.redis_client.dump(keys.thread_pages(user))
    post(alone, user, "t", "two")
    drain()
    # As one that was promoted without the end: the page is there again, with its generation.
    alone.redis_client.restore(keys.thread_pages(user), 600_000, before, replace=True)
    with alone.job_engine.begin() as connection:
        connection.exec_driver_sql("UPDATE redis_state SET run_id = 'the one before'")
    fresh = Services(alone.settings)
    assert figures(page(fresh, user)) == [("t", 2, "two")]
    alone.redis_client.restore(keys.thread_pages(user), 600_000, before, replace=True)
    alone.redis_recovery.adopt()
    assert figures(page(Services(alone.settings), user)) == [("t", 2, "two")]


def test_lists_of_active_users_are_warmed(alone: Services, user: str, drain: Drain) -> None:
    manager = alone.thread_cache_manager
    post(alone, user, "t", "one")
    drain()
    # Who wrote and never listed; and who listed, whenever they wrote.
    assert manager.warm_active() >= 1
    assert page(alone, user).source == "redis"
    page(alone, user + "-other")
    alone.redis_repair.outdate([user + "-other"])
    assert manager.warm_active() >= 1
    assert page(alone, user + "-other").source == "redis"
    assert manager.warm([user, user + "-other"]) == 0
    assert alone.redis_client.zscore(keys.ACTIVE_LISTS, user) is not None


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
        return store(user, given[1], generation, *given[3:])

    monkeypatch.setattr(manager._pages, "store", erase_before)
    page(alone, user)
    assert list(in_redis(alone, "to be forgotten")) == []
    assert page(alone, user).threads == []


def test_a_key_of_somebody_else_keeps_nobody_from_their_threads(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "one")
    drain()
    alone.redis_client.set(keys.thread_pages(user), "not a hash")
    assert figures(page(alone, user)) == [("t", 1, "one")]


def test_many_pages_of_one_user_take_no_more_than_their_room(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "one")
    drain()
    for limit in range(1, 60):
        page(alone, user, limit=limit)
    page(alone, user)
    assert alone.redis_client.hlen(keys.thread_pages(user)) <= 20
    assert 0 < alone.redis_client.ttl(keys.thread_pages(user)) <= 600


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


def test_a_time_that_two_threads_share_parts_them_by_name(
    alone: Services, user: str, drain: Drain
) -> None:
    with alone.job_engine.begin() as connection:
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
