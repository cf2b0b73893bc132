"""Texts that are heavy to index: they hold up nobody, and are found like all others."""

from collections.abc import Callable

import pytest

from jobs.persist.drain import Drained
from models.search import parse
from storage.search.query import Wanted
from support.calls.searching import find, moved
from support.data.pending import drained
from support.data.samples import append_of, message
from support.faults.outages import process
from support.faults.slowness import each_takes
from support.waiting import eventually
from wiring.process import Services

MARKS = "a" + "\u0301\u0316" * 15_900
"""Each two in the wrong order."""
MARKS_OF_TIBET = "\u0f40" + "\u0f72\u0f71" * 10_700
"""Likewise, and they are not left out."""
HONORIFICS = "\ufdfa" * 21_700
"""One character stands for eighteen."""


@pytest.mark.parametrize("heavy", [MARKS, MARKS_OF_TIBET, HONORIFICS])
def test_one_who_writes_heavy_texts_holds_up_nobody(alone: Services, user: str, heavy: str) -> None:
    """They are persisted and shipped within the time of a statement, and read within that of a
    search."""
    made = [message(user, "t", f"needle {heavy}") for _ in range(4)]
    alone.tiers.redis.append([append_of(*made)], 60)
    names = [one.id for one in reversed(made)]
    eventually(lambda: drained(alone), 60)
    assert pages(alone, user, "needle") == names
    alone.jobs.replication.ship_all()
    with moved(alone, made):
        assert pages(alone, user, "needle") == names


def test_what_takes_long_to_look_at_is_given_page_by_page(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [message(user, "t", f"needle {number}") for number in range(5)]
    alone.tiers.redis.append([append_of(*made)], 60)
    monkeypatch.setattr("storage.search.service.SEARCH_SECONDS", 0.0)
    wanted = Wanted(parse("needle"))
    page = alone.search.search(user, wanted, limit=10, cursor=None)
    assert [hit.message.id for hit in page.hits] == [made[4].id]
    assert page.next_cursor == made[4].id
    assert pages(alone, user, "needle") == [one.id for one in reversed(made)]


def pages(own: Services, user: str, query: str) -> list[str]:
    """The ids found, page after page, however short they are."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = own.search.search(user, Wanted(parse(query)), limit=10, cursor=cursor)
        found += [hit.message.id for hit in page.hits]
        assert page.next_cursor is None or page.next_cursor != cursor
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_what_takes_too_long_together_is_carried_in_smaller_batches(
    alone: Services, user: str
) -> None:
    """A deadline that ten messages keep, and forty do not."""
    made = [message(user, "t", f"{'ab ' * 4_000}needle") for _ in range(40)]
    alone.tiers.redis.append([append_of(*made)], 60)
    own = process(alone, database_timeout_seconds=0.6)
    with each_takes(alone, "messages", "INSERT", 0.02):
        eventually(lambda: drained(own), 60)
    assert find(alone, user, "needle") == [one.id for one in reversed(made)]


@pytest.mark.parametrize(("words", "is_whole"), [(4_000, False), (4, True)])
def test_long_entries_of_the_log_count_for_several(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch, words: int, is_whole: bool
) -> None:
    """Else one who writes the largest there are would have a search hold all of them."""
    made = [message(user, "t", "needle " * words) for _ in range(6)]
    alone.tiers.redis.append([append_of(*made)], 60)
    monkeypatch.setattr("storage.redis.unpersisted.MOST_ENTRIES", 20)
    monkeypatch.setattr("storage.redis.unpersisted.PAGE_ENTRIES", 2)
    page = alone.search.search(user, Wanted(parse("needle")), limit=10, cursor=None)
    assert page.warning == (None if is_whole else "incomplete_unpersisted_messages")


def test_a_word_that_grows_when_it_is_folded_is_found(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    texts = ("\ufb03" * 200, "ffi" * 200, "ffi" * 200 + " z" * 1_500, "ffi" * 199)
    made = [message(user, content=one) for one in texts]
    alone.tiers.redis.append([append_of(*made)], 60)
    wanted = sorted((one.id for one in made[:3]), reverse=True)
    for carry in (lambda: None, drain, alone.jobs.replication.ship_all):
        carry()
        assert find(alone, user, "\ufb03" * 200) == wanted
