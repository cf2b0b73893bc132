"""Keys: two threads never share one, and what one write touches lies in one slot."""

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models import ids
from storage.redis import keys

NAMES = st.text(st.sampled_from("ab:{}%*! \u00e93A"), min_size=1, max_size=6)
SLOTS = st.integers(0, 4095)
OF_A_THREAD = (keys.index, keys.thread, keys.watermark, keys.state)
SLOT_TAG = re.compile(r"\{([^}]*)\}")


def all_keys(slot: int, user: str, thread: str, key: str) -> list[str]:
    """Every key that a write to a thread can touch."""
    return [
        *(make(slot, user, thread) for make in OF_A_THREAD),
        keys.idempotency(slot, user, thread, key),
        keys.message(slot, ids.mint(1, 1, 1)),
        keys.pending(slot),
        keys.drain(slot),
    ]


def cluster_tag(key: str) -> str:
    """What Redis Cluster hashes: the text between the first `{` and the next `}`."""
    found = SLOT_TAG.search(key)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("make", OF_A_THREAD)
@given(first=st.tuples(NAMES, NAMES), second=st.tuples(NAMES, NAMES))
@example(first=("a:b", "c"), second=("a", "b:c"))
@example(first=("a%3Ab", "c"), second=("a:b", "c"))
@example(first=("a", "b:ids"), second=("a:b", "ids"))
def test_two_threads_share_no_key(
    make: Callable[[int, str, str], str], first: tuple[str, str], second: tuple[str, str]
) -> None:
    assert (make(1, *first) == make(1, *second)) == (first == second)


@given(st.tuples(NAMES, NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES))
@example(("a", "b:c", "d"), ("a", "b", "c:d"))
def test_two_idempotency_keys_share_no_key(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    same = keys.idempotency(1, *first) == keys.idempotency(1, *second)
    assert same == (first == second)


@given(SLOTS, NAMES, NAMES, NAMES)
def test_all_keys_of_a_write_share_one_tag(slot: int, user: str, thread: str, key: str) -> None:
    assert {cluster_tag(name) for name in all_keys(slot, user, thread, key)} == {str(slot)}


@given(SLOTS, NAMES, NAMES, NAMES)
def test_no_two_kinds_of_key_are_one(slot: int, user: str, thread: str, key: str) -> None:
    made = all_keys(slot, user, thread, key)
    assert len(set(made)) == len(made)


@given(SLOTS, NAMES)
def test_a_name_from_outside_brings_no_separator(slot: int, name: str) -> None:
    encoded = keys.encode(name)
    assert not set(encoded) & set(":{}*!")
    # A script builds the key of a message from this prefix.
    assert keys.message(slot, "x").startswith(keys.message_prefix(slot))
