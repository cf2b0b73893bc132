"""Weekly partitions by id: made ahead, made on demand, and a place for what fits none."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from jobs.persist.drain import Drained
from models import codec, ids
from models.message import Message
from storage.errors import TierUnavailable
from storage.postgres.partitions import WEEK, Partitions, bound, monday_of, name
from storage.postgres.writes import upsert_messages
from support.data.samples import append_of, message
from wiring.process import Services

# Seconds since 1970: the first Monday of all ids.
FIRST_MONDAY = 4 * 86_400
MOMENTS = st.integers(FIRST_MONDAY, 7_000_000_000).map(lambda at: datetime.fromtimestamp(at, UTC))
OF_ROW = text("SELECT tableoid::regclass::text FROM messages WHERE id = :id")
ALL = text("SELECT inhrelid::regclass::text FROM pg_inherits")


def partition_of(alone: Services, one: Message) -> str:
    with alone.tiers.job_engine.connect() as connection:
        return str(connection.execute(OF_ROW, {"id": one.id}).scalar_one())


def partitions(alone: Services) -> set[str]:
    with alone.tiers.job_engine.connect() as connection:
        return set(connection.execute(ALL).scalars())


def at(user: str, moment: datetime) -> Message:
    return message(user, time_us=ids.time_us(moment))


@given(MOMENTS)
def test_a_week_begins_on_monday_and_holds_its_ids(moment: datetime) -> None:
    monday = monday_of(moment)
    assert monday.weekday() == 0
    assert monday <= moment < monday + WEEK
    made = ids.mint(ids.time_us(moment), 0, 0)
    assert bound(monday) <= made < bound(monday + WEEK)


@given(MOMENTS)
def test_the_first_id_of_a_week_is_in_it_and_the_last_before_is_not(moment: datetime) -> None:
    monday_us = ids.time_us(monday_of(moment))
    assert ids.mint(monday_us, 0, 0) >= bound(monday_of(moment))
    last = ids.mint(monday_us - 1, ids.SHARD_SPACE - 1, (1 << ids.RANDOM_BITS) - 1)
    assert last < bound(monday_of(moment))


def test_a_week_has_one_name_in_every_time_zone() -> None:
    moment = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
    for hours in (-12, -1, 1, 14):
        there = moment.astimezone(timezone(timedelta(hours=hours)))
        assert name(monday_of(there)) == "messages_2026_11_23"


def test_partitions_ahead_are_made_once(alone: Services) -> None:
    now = datetime(2030, 1, 2, tzinfo=UTC)
    made = Partitions(alone.tiers.job_engine).ensure_ahead(now, 3)
    assert made == [name(monday_of(now) + WEEK * ahead) for ahead in range(4)]
    assert set(made) <= partitions(alone)
    assert Partitions(alone.tiers.job_engine).ensure_ahead(now, 3) == []
    assert Partitions(alone.tiers.job_engine).ensure_ahead(now + WEEK, 3) == [
        name(monday_of(now) + WEEK * 4)
    ]


def test_a_partition_is_made_when_a_message_needs_it(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    moments = [datetime(2019, 5, day, 23, 59, 59, 999_999, tzinfo=UTC) for day in (5, 6, 12, 13)]
    made = [at(user, moment) for moment in moments]
    alone.tiers.redis.append([append_of(*made)], 60)
    assert drain().written == 4
    found = [partition_of(alone, one) for one in made]
    assert found == [
        "messages_2019_04_29",
        "messages_2019_05_06",
        "messages_2019_05_06",
        "messages_2019_05_13",
    ]


def test_an_id_of_far_ahead_goes_to_the_default_partition(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    one = at(user, datetime.now(UTC) + timedelta(days=800))
    alone.tiers.redis.append([append_of(one)], 60)
    assert drain().written == 1
    assert partition_of(alone, one) == "messages_default"
    assert alone.tiers.postgres.message(user, one.id) is not None


def test_a_week_whose_rows_are_in_the_default_partition_stays_there(
    alone: Services, user: str, write: Callable[..., int]
) -> None:
    monday = datetime(2018, 1, 1, tzinfo=UTC)
    stray, later = at(user, monday), at(user, monday + timedelta(days=1))
    write(stray)
    assert partition_of(alone, stray) == "messages_default"
    Partitions(alone.tiers.job_engine).ensure_for([later.id])
    assert name(monday) not in partitions(alone)
    assert write(later) == 1
    assert partition_of(alone, later) == "messages_default"


def test_a_long_reader_postpones_a_new_partition_and_nothing_else(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    old, new = at(user, datetime(2017, 1, 2, tzinfo=UTC)), message(user, "other")
    alone.tiers.redis.append([append_of(old)], 60)
    with alone.tiers.request_engine.connect() as reader:
        # Holds what making a partition needs for a moment: the default partition.
        reader.execute(text("SELECT count(*) FROM messages"))
        with pytest.raises(TierUnavailable):
            drain()
        assert sum(alone.tiers.pending_log.backlog()) == 1
        with alone.tiers.job_engine.begin() as connection:
            assert upsert_messages(connection, [codec.encode(new)]) == 1
        reader.rollback()
    assert drain().written == 1
    assert partition_of(alone, old) == "messages_2017_01_02"


def test_a_partition_has_the_rules_of_the_table(alone: Services) -> None:
    Partitions(alone.tiers.job_engine).ensure_ahead(datetime(2016, 1, 4, tzinfo=UTC), 0)
    query = text(
        "SELECT count(*) FROM pg_constraint"
        " WHERE conrelid = 'messages_2016_01_04'::regclass AND contype IN ('c', 'p')"
    )
    with alone.tiers.job_engine.connect() as connection:
        assert connection.execute(query).scalar_one() >= 3


def test_an_id_beyond_all_calendars_needs_no_partition(alone: Services) -> None:
    before = partitions(alone)
    Partitions(alone.tiers.job_engine).ensure_for([ids.mint(ids.MAX_MICROSECONDS, 0)])
    assert partitions(alone) == before
