"""PostgreSQL and ClickHouse give the same numbers for the same rows, and others for others."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from models import ids
from models.message import Message
from storage.clickhouse.fingerprints import (
    Cut,
    RowMark,
    Slice,
    SliceKey,
    clickhouse_rows,
    clickhouse_slices,
    postgres_rows,
    postgres_slices,
    week_of,
)
from support.data.samples import METADATA, TEXTS, message, revised
from wiring.process import Services

HOUR_MS = 3_600_000


def cut_of(one: Message, **fields: int) -> Cut:
    """The hour of a message, which no other test writes to."""
    at_ms = ids.time_us_of(one.id) // 1000
    return Cut(at_ms - at_ms % HOUR_MS, at_ms - at_ms % HOUR_MS + HOUR_MS, HOUR_MS)._replace(
        **fields
    )


@pytest.fixture
def both(
    alone: Services, write: Callable[..., int]
) -> Callable[[Cut], tuple[dict[SliceKey, Slice], dict[SliceKey, Slice]]]:
    def slices(cut: Cut) -> tuple[dict[SliceKey, Slice], dict[SliceKey, Slice]]:
        alone.jobs.replication.ship_all()
        with alone.tiers.job_engine.connect() as connection:
            return postgres_slices(connection, cut), clickhouse_slices(
                alone.tiers.job_clickhouse, cut
            )

    return slices


HOURS = iter(range(1, 10_000))


def at(user: str, content: str = "hello", **fields: object) -> Message:
    """A message in an hour of its own."""
    time_us = 1_300_000_000_000_000 + next(HOURS) * HOUR_MS * 1000
    return message(user, content=content, time_us=time_us, **fields)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=TEXTS.filter(bool), metadata=METADATA, microseconds=st.integers(0, 999_999))
def test_both_databases_compute_the_same(
    user: str,
    write: Callable[..., int],
    both: Callable[[Cut], tuple[dict[SliceKey, Slice], dict[SliceKey, Slice]]],
    content: str,
    metadata: dict[str, object],
    microseconds: int,
) -> None:
    hour = at(user)
    one = message(
        user,
        content=content,
        metadata=metadata,
        time_us=ids.time_us_of(hour.id) + microseconds,
    )
    write(one)
    ours, theirs = both(cut_of(one))
    assert ours == theirs
    assert [slice.rows for slice in ours.values()] == [1]


def test_shares_add_up_to_the_whole(
    alone: Services,
    user: str,
    write: Callable[..., int],
    both: Callable[[Cut], tuple[dict[SliceKey, Slice], dict[SliceKey, Slice]]],
) -> None:
    first = at(user)
    start = ids.time_us_of(first.id)
    batch = [message(user, time_us=start + number) for number in range(200)]
    write(*batch)
    write(
        *[revised(one) for one in batch[:50]], *[revised(one, deleted=True) for one in batch[50:70]]
    )
    cut = cut_of(first)
    whole, _ = both(cut)
    parts, theirs = both(cut._replace(shares=16, width_ms=60_000))
    assert parts == theirs
    assert len(parts) == 16
    assert sum(part.rows for part in parts.values()) == 200
    assert [sum(part.checksum for part in parts.values()) % 2**64] == [
        slice.checksum for slice in whole.values()
    ]
    with alone.tiers.job_engine.connect() as connection:
        ours = postgres_rows(connection, cut, whole)
    assert ours == clickhouse_rows(alone.tiers.job_clickhouse, cut, whole)
    assert set(ours) == {one.id for one in batch}
    assert sum(mark.is_deleted for mark in ours.values()) == 20
    assert {mark.version for mark in ours.values()} == {1, 2}


@pytest.mark.parametrize(
    "damage",
    [
        "content = content || '.'",
        "metadata = '[]'",
        "role = 'tool'",
        "user_id = user_id || 'x'",
        "thread_id = thread_id || 'x'",
        "version = version + 1",
        "updated_at = updated_at + interval '1 microsecond'",
        "created_at = created_at + interval '1 microsecond'",
        "deleted_at = updated_at",
        "content_hash = repeat('0', 64)",
    ],
)
def test_every_column_counts(
    alone: Services,
    user: str,
    write: Callable[..., int],
    both: Callable[[Cut], tuple[dict[SliceKey, Slice], dict[SliceKey, Slice]]],
    damage: str,
) -> None:
    one = at(user)
    write(one)
    cut = cut_of(one)
    ours, theirs = both(cut)
    assert ours == theirs
    with alone.tiers.job_engine.connect() as connection:
        connection.execute(text(f"UPDATE messages SET {damage} WHERE id = :id"), {"id": one.id})
        damaged = postgres_slices(connection, cut)
        rows: dict[str, RowMark] = postgres_rows(connection, cut, damaged)
        connection.rollback()
    assert damaged != theirs
    assert rows[one.id] != clickhouse_rows(alone.tiers.job_clickhouse, cut, theirs)[one.id]


def test_the_ends_of_time_are_in_it(
    user: str,
    write: Callable[..., int],
    both: Callable[[Cut], tuple[dict[SliceKey, Slice], dict[SliceKey, Slice]]],
) -> None:
    first = message(user, time_us=1)
    last = message(user, time_us=10_413_791_999_000_000)
    write(first, last)
    ours, theirs = both(Cut())
    for one in (first, last):
        key = SliceKey(week_of(ids.time_us_of(one.id) // 1000), 0)
        assert ours[key] == theirs[key]
        assert ours[key].rows >= 1
