"""The list of threads: right with every write, from Redis while nothing was written, and with
whichever tier is out."""

from collections.abc import Callable
from typing import Any

import pytest

from models import ids
from storage.errors import NotFound
from support.data.moving import archived
from support.data.thread_lists import Drain, begin_whole, figures, mark, one, page, post
from support.faults.outages import without
from support.waiting import eventually
from wiring.process import Services


@pytest.fixture(autouse=True)
def nobody_writes_beside_redis(alone: Services) -> None:
    begin_whole(alone)


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


@pytest.mark.usefixtures("steady_lease")
def test_a_page_comes_from_redis_until_something_is_written(
    alone: Services, user: str, drain: Drain
) -> None:
    first = post(alone, user, "t", "one")
    post(alone, user, "t", "two")
    drain()
    assert page(alone, user).source == "postgresql"

    def is_warm() -> bool:
        return page(alone, user).source == "redis"

    assert is_warm()
    writes: list[Callable[[], object]] = [
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
    page(alone, user)
    post(alone, user + "-other", "t")
    assert is_warm()


@pytest.mark.usefixtures("steady_lease")
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


@pytest.mark.usefixtures("steady_lease")
def test_archived_messages_are_previewed_and_counted(
    alone: Services, user: str, drain: Drain
) -> None:
    old = []
    for number in range(3):
        old.append(post(alone, user, "old", f"message {number}"))
        # Of two within one millisecond PostgreSQL would know the newer one by the thread's time.
        eventually(lambda: alone.tiers.clock.now_us() // 1000 > ids.time_us_of(old[-1].id) // 1000)
    drain()
    alone.jobs.replication.ship_all()
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
        alone.tiers.redis_repair.invalidate_thread_lists([user])
        lost = page(without(alone, "clickhouse"), user)
        assert lost.warning == "incomplete_clickhouse_unavailable"
        assert figures(lost)[0] == ("new", 1, new.content)
        assert page(alone, user).warning is None
