"""Where a message belongs: the rules, in one place, without I/O.

A message has one tier that keeps it, by its age alone, and may have a copy in Redis besides, for as
long as somebody is likely to read it. Every one is in ClickHouse too, soon after it was written.
"""

from collections.abc import Iterable
from typing import NamedTuple

from jobs.archive.catalogue import Partition
from models.message import Tier
from settings import Settings

DAY_SECONDS = 86_400.0


class TieringRules(NamedTuple):
    """Ages at which a message moves, in seconds."""

    hot_seconds: float
    archive_after_seconds: float


def rules_of(settings: Settings) -> TieringRules:
    """The rules of an installation."""
    return TieringRules(settings.hot_seconds, settings.archive_after_days * DAY_SECONDS)


def keeping_tier(age_seconds: float, rules: TieringRules) -> Tier:
    """The tier that keeps a message of this age: PostgreSQL, and from some age on ClickHouse.

    A message from the future, by a clock that was wrong, is young.
    """
    return "clickhouse" if age_seconds >= rules.archive_after_seconds else "postgresql"


def select_storage_tier(
    age_seconds: float,
    rules: TieringRules,
    *,
    thread_idle_seconds: float | None = None,
    unread_seconds: float | None = None,
) -> Tier:
    """The tier that should answer for a message: Redis where it is likely to be read again.

    That is one that was written, or read, or whose thread was written to, a short while ago; None
    stands for never. What Redis answers for is kept by `keeping_tier` all the same.
    """
    signs = (age_seconds, thread_idle_seconds, unread_seconds)
    if any(seconds is not None and seconds < rules.hot_seconds for seconds in signs):
        return "redis"
    return keeping_tier(age_seconds, rules)


def tier_old_messages(
    partitions: Iterable[Partition], now_ms: int, rules: TieringRules
) -> list[Partition]:
    """The partitions that are to leave PostgreSQL: their youngest message belongs to ClickHouse.

    Oldest first. Activity and access keep copies in Redis, and no row in PostgreSQL.
    """
    due = (
        each
        for each in partitions
        if keeping_tier((now_ms - each.high_ms) / 1000, rules) == "clickhouse"
    )
    return sorted(due, key=lambda each: each.low_ms)
