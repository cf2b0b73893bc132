"""The order and the choice of an export, and the comparison that the demo rests on."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.demo.comparison import Tally, compare
from jobs.transfer.export import Watermark, live, newest, position
from models.message import Message
from support.data.samples import message, revised


def test_of_two_tiers_the_newer_version_is_given_once() -> None:
    first, second, third = (message("u", content=text) for text in "abc")
    edited = revised(second)
    merged = list(newest(iter([edited, third]), iter([first, second])))
    assert merged == [first, edited, third]
    assert list(newest(iter([first, second]), iter([edited]))) == [first, edited]


def test_a_tombstone_hides_what_the_archive_still_has() -> None:
    archived = message("u")
    tombstone = revised(archived, deleted=True)
    both = newest(iter([tombstone]), iter([archived]))
    assert list(live(both, iter([]), {})) == []


def test_what_went_with_its_thread_is_left_out_there_only() -> None:
    messages = sorted(
        (message(user, thread) for user in "abc" for thread in ("s", "t") for _ in range(3)),
        key=position,
    )
    gone = [one for one in messages if (one.user_id, one.thread_id) == ("b", "s")]
    marks = [
        Watermark(("a", "r"), gone[-1].id),
        Watermark(("b", "s"), gone[1].id),
        Watermark(("z", "t"), gone[-1].id),
    ]
    kept = list(live(iter(messages), iter(marks), {}))
    assert kept == [one for one in messages if one not in gone[:2]]
    erased = {"a": messages[4].id}
    kept = list(live(iter(messages), iter(marks), erased))
    assert kept == [one for one in messages if one not in gone[:2] and one not in messages[:5]]


@given(st.lists(st.text(st.characters(codec="utf-8")), unique=True))
def test_the_order_is_that_of_the_bytes(names: list[str]) -> None:
    def owned(name: str) -> Message:
        return msgspec.structs.replace(message("u"), user_id=name)

    ordered = sorted((owned(name) for name in names), key=position)
    assert [one.user_id.encode() for one in ordered] == sorted(name.encode() for name in names)


@pytest.mark.parametrize(
    ("given_", "found", "tally"),
    [
        ("abc", "abc", Tally(verified=3)),
        ("", "", Tally()),
        ("abc", "ab", Tally(verified=2, missing=1)),
        ("abc", "", Tally(missing=3)),
        ("abc", "abbc", Tally(verified=3, doubled=1)),
        ("abc", "axc", Tally(verified=2, different=1)),
        ("abc", "abcx", Tally(verified=3, different=1)),
        ("abc", "acb", Tally(verified=1, different=2)),
        ("aab", "ab", Tally(verified=2, missing=1)),
        ("ab", "xaa", Tally(verified=1, doubled=1, different=1)),
    ],
)
def test_the_comparison_finds_what_is_wrong(
    given_: Sequence[str], found: Sequence[str], tally: Tally
) -> None:
    assert compare(given_, found) == tally
