"""Where a message belongs, as a table of cases, and what follows for partitions."""

import click
import pytest

from jobs.archive.tiering import (
    DAY_SECONDS,
    Partition,
    TieringRules,
    keeping_tier,
    select_storage_tier,
    tier_old_messages,
)
from models.message import Tier
from storage.postgres.partitions import id_at
from webapp.cli.jobs.archive import DurationType

RULES = TieringRules(hot_seconds=DAY_SECONDS, archive_after_seconds=30 * DAY_SECONDS)
NOW_MS = 1_800_000_000_000
DAY_MS = int(DAY_SECONDS * 1000)


@pytest.mark.parametrize(
    ("age", "thread_idle", "unread", "tier"),
    [
        # days since it was written, its thread was written to, and it was read; None is never
        (0, 0, None, "redis"),
        (0.99, 0.99, None, "redis"),
        (1, 1, None, "postgresql"),
        (29.99, 29.99, 1, "postgresql"),
        (30, 30, 30, "clickhouse"),
        (4000, 4000, None, "clickhouse"),
        (4000, None, None, "clickhouse"),
        # an active thread keeps its old messages near, and so does a reader
        (5, 0.5, None, "redis"),
        (5, 5, 0.5, "redis"),
        (4000, 0.5, None, "redis"),
        (4000, 4000, 0.5, "redis"),
        (4000, 1, 1, "clickhouse"),
        # a clock that was wrong
        (-400, None, None, "redis"),
    ],
)
def test_where_a_message_belongs(
    age: float, thread_idle: float | None, unread: float | None, tier: Tier
) -> None:
    given = [None if days is None else days * DAY_SECONDS for days in (age, thread_idle, unread)]
    assert given[0] is not None
    found = select_storage_tier(
        given[0], RULES, thread_idle_seconds=given[1], unread_seconds=given[2]
    )
    assert found == tier


@pytest.mark.parametrize(
    ("age_days", "tier"),
    [(-400, "postgresql"), (0, "postgresql"), (29.99, "postgresql"), (30, "clickhouse")],
)
def test_age_alone_says_who_keeps_it(age_days: float, tier: Tier) -> None:
    assert keeping_tier(age_days * DAY_SECONDS, RULES) == tier


def week(ends_days_ago: float) -> Partition:
    high_ms = NOW_MS - int(ends_days_ago * DAY_MS)
    return Partition(f"ends {ends_days_ago}", id_at(high_ms - 7 * DAY_MS), id_at(high_ms), 1)


def test_a_partition_goes_when_its_youngest_message_is_old_enough() -> None:
    weeks = [week(days) for days in (-7, 0, 23, 29.9, 30, 37, 400)]
    due = tier_old_messages(weeks, NOW_MS, RULES)
    assert [one.name for one in due] == ["ends 400", "ends 37", "ends 30"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("30d", 30 * 86_400), ("12h", 43_200), ("15m", 900), ("60s", 60), ("0", 0), ("0d", 0)],
)
def test_a_span_of_the_command_line(given: str, seconds: float) -> None:
    assert DurationType().convert(given, None, None) == seconds


@pytest.mark.parametrize("given", ["", "d", "-1d", "1.5d", "month", "1w", "\N{SUPERSCRIPT TWO}d"])
def test_what_is_no_span(given: str) -> None:
    with pytest.raises(click.BadParameter):
        DurationType().convert(given, None, None)
