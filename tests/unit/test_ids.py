"""The id: what is put in is read back, and its text order is the order of time."""

import itertools
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from models import ids

TIMES = st.integers(0, ids.MAX_MICROSECONDS)
SHARDS = st.integers(0, ids.SHARD_SPACE - 1)
BITS = st.integers(0, (1 << ids.RANDOM_BITS) - 1)


@given(TIMES, SHARDS, BITS)
def test_time_and_shard_are_read_back_from_an_id(time_us: int, shard: int, bits: int) -> None:
    made = ids.mint(time_us, shard, bits)
    assert ids.time_us_of(made) == time_us
    assert ids.shard_in(made) == shard
    assert int(uuid.UUID(made).int & ((1 << ids.RANDOM_BITS) - 1)) == bits


@given(TIMES, SHARDS, BITS)
def test_an_id_is_a_uuid_of_version_7_to_others(time_us: int, shard: int, bits: int) -> None:
    made = ids.mint(time_us, shard, bits)
    assert ids.is_id(made)
    standard, other = uuid.UUID(made), uuid_utils.UUID(made)
    assert str(standard) == str(other) == made
    assert standard.version == other.version == 7
    assert standard.variant == uuid.RFC_4122
    assert other.timestamp == time_us // 1000


@given(TIMES, TIMES, SHARDS, BITS, BITS)
def test_within_a_thread_text_order_is_time_order(
    first_us: int, second_us: int, shard: int, first_bits: int, second_bits: int
) -> None:
    first, second = ids.mint(first_us, shard, first_bits), ids.mint(second_us, shard, second_bits)
    assert (first < second) == ((first_us, first_bits) < (second_us, second_bits))
    assert (first < second) == (uuid.UUID(first).bytes < uuid.UUID(second).bytes)


@given(TIMES, SHARDS)
def test_every_id_lies_between_the_two_ends(time_us: int, shard: int) -> None:
    assert ids.LOWEST < ids.mint(time_us, shard) < ids.HIGHEST


@pytest.mark.parametrize(
    ("time_us", "shard"),
    [(-1, 0), (ids.MAX_MICROSECONDS + 1, 0), (0, -1), (0, ids.SHARD_SPACE)],
)
def test_what_does_not_fit_is_refused(time_us: int, shard: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        ids.mint(time_us, shard)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01a1fc1b-eb65-7fec-82e6-2aae62aa809",
        "01a1fc1b-eb65-7fec-82e6-2aae62aa80977",
        "01A1FC1B-EB65-7FEC-82E6-2AAE62AA8097",
        "01a1fc1b-eb65-4fec-82e6-2aae62aa8097",
        "01a1fc1b-eb65-7fec-c2e6-2aae62aa8097",
        "{01a1fc1b-eb65-7fec-82e6-2aae62aa8097}",
        "01a1fc1beb657fec82e62aae62aa8097",
        "01a1fc1b-eb65-7fec-82e6-2aae62aa8097\n",
        ids.LOWEST,
        ids.HIGHEST,
    ],
)
def test_only_the_canonical_form_is_an_id(text: str) -> None:
    assert not ids.is_id(text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_thread_has_one_shard(user_id: str, thread_id: str) -> None:
    user_id, thread_id = _keepable(user_id), _keepable(thread_id)
    shard = ids.shard_of(user_id, thread_id)
    assert 0 <= shard < ids.SHARD_SPACE
    assert shard == ids.shard_of(user_id, thread_id)


def test_the_shard_never_changes_between_releases() -> None:
    # Ids of stored messages hold it: another hash would send a thread's next message elsewhere.
    assert ids.shard_of("alice", "inbox") == 1741
    assert ids.shard_of("ab", "c") != ids.shard_of("a", "bc")


def test_an_imported_message_gets_the_same_bits_each_time() -> None:
    assert ids.source_bits("chat", "1") == ids.source_bits("chat", "1")
    assert ids.source_bits("chat", "1") != ids.source_bits("chat1", "")
    assert ids.source_bits("chat", "1").bit_length() <= ids.RANDOM_BITS


@given(st.integers(0, int(timedelta(days=365 * 300) / timedelta(microseconds=1))))
def test_a_timestamp_keeps_six_digits(time_us: int) -> None:
    text = ids.timestamp(time_us)
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time_us)
    assert ids.time_us(moment) == time_us
    assert datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z") == moment
    assert len(text) == len("1970-01-01T00:00:00.000000Z")


@given(st.lists(st.integers(0, 2**50), min_size=2, max_size=50))
def test_the_clock_rises_whatever_its_source_does(readings_ns: list[int]) -> None:
    source = iter(readings_ns)
    clock = ids.Clock(lambda: next(source))
    given_us = [clock.now_us() for _ in readings_ns]
    assert all(after > before for before, after in itertools.pairwise(given_us))
    assert given_us[0] == readings_ns[0] // 1000 or given_us[0] == 1


def test_the_clock_gives_no_moment_to_two_threads() -> None:
    clock = ids.Clock(lambda: 5_000)
    seen: list[int] = []

    def take() -> None:
        seen.extend([clock.now_us() for _ in range(2_000)])

    takers = [threading.Thread(target=take) for _ in range(4)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert len(set(seen)) == len(seen) == 8_000


def _keepable(text: str) -> str:
    return text.encode(errors="replace").decode()
