"""What leaves the log while threads are read, and is evicted at once, is read all the same."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from storage.errors import NotFound
from storage.redis import keys
from support.data.thread_lists import Drain, begin_whole, figures, one, page, post
from wiring.process import Services

Behind = Callable[[], list[str]]


@pytest.fixture
def behind(alone: Services, user: str, drain: Drain, monkeypatch: pytest.MonkeyPatch) -> Behind:
    """Has what waits be committed and evicted right after PostgreSQL was asked for threads; gives
    the verbs that asked."""
    begin_whole(alone)
    rows, passed = alone.thread_cache_manager._rows, []
    slot = alone.tiers.redis.slot_of_thread(user, "t")
    names = [keys.thread(slot, user, "t"), keys.watermark(slot, user, "t")]

    def after(verb: str) -> None:
        read = getattr(rows, verb)

        def then_committed(*given: Any) -> Any:
            found = read(*given)
            if not passed:
                passed.append(verb)
                drain()
                alone.tiers.redis_repair.evict_committed(names)
                assert alone.tiers.redis.thread(user, "t") == (None, None)
            return found

        monkeypatch.setattr(rows, verb, then_committed)

    def begin() -> list[str]:
        after("page")
        after("named")
        return passed

    return begin


def retitle(own: Services, user: str, title: str) -> None:
    own.threads.change(user, "t", title=title, metadata=msgspec.UNSET)


def test_a_title_is_the_one_that_was_acknowledged(
    alone: Services, user: str, drain: Drain, behind: Behind
) -> None:
    post(alone, user, "t")
    drain()
    retitle(alone, user, "first")
    passed = behind()
    found = page(alone, user)
    assert (one(found).title, figures(found)) == ("first", [("t", 1, "hello")])
    retitle(alone, user, "second")
    passed.clear()
    assert alone.threads.get(user, "t").title == "second"
    assert alone.threads.get(user, "t").message_count == 1


def test_a_thread_that_is_new_to_postgresql_is_counted_once(
    alone: Services, user: str, behind: Behind
) -> None:
    alone.threads.create(user, "t", "a title", {})
    post(alone, user, "t")
    passed = behind()
    found = page(alone, user)
    assert passed
    assert (one(found).title, figures(found)) == ("a title", [("t", 1, "hello")])


def test_a_deleted_thread_is_not_there(
    alone: Services, user: str, drain: Drain, behind: Behind
) -> None:
    post(alone, user, "t")
    drain()
    passed = behind()
    alone.threads.delete(user, "t")
    passed.clear()
    assert page(alone, user).threads == []
    assert passed
    passed.clear()
    with pytest.raises(NotFound):
        alone.threads.get(user, "t")
