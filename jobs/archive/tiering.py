"""Where a message belongs, by its age: the rules in one place, without I/O."""

from collections.abc import Iterable
from typing import NamedTuple

from models.message import Tier
from settings import Settings

DAY_SECONDS = 86_400.0


class TieringRules(NamedTuple):
    """Ages at which a message moves, in seconds."""

    hot_seconds: float
    archive_after_seconds: float


class Partition(NamedTuple):
    """A week of messages: ids from `low` to below `high`, its size on disk in bytes, and its rows
    where they were counted."""

    name: str
    low: str
    high: str
    bytes: int
    rows: int = 0


def milliseconds(bound_id: str) -> int:
    """Milliseconds since 1970 of a partition's bound."""
    return int(bound_id[:8] + bound_id[9:13], 16)


def rules_of(settings: Settings) -> TieringRules:
    """The rules of an installation."""
    return TieringRules(settings.hot_seconds, settings.archive_after_days * DAY_SECONDS)


def keeping_tier(age_seconds: float, rules: TieringRules) -> Tier:
    """The tier that keeps a message of this age; a negative age, from a wrong clock, is young."""
    return "clickhouse" if age_seconds >= rules.archive_after_seconds else "postgresql"


def select_storage_tier(
    age_seconds: float,
    rules: TieringRules,
    *,
    thread_idle_seconds: float | None = None,
    unread_seconds: float | None = None,
) -> Tier:
    """The tier that should answer for a message: Redis where it was written or read, or its thread
    was written to, within `hot_seconds`; None stands for never. `keeping_tier` keeps it anyway."""
    signs = (age_seconds, thread_idle_seconds, unread_seconds)
    if any(seconds is not None and seconds < rules.hot_seconds for seconds in signs):
        return "redis"
    return keeping_tier(age_seconds, rules)


def tier_old_messages(
    partitions: Iterable[Partition], now_ms: int, rules: TieringRules
) -> list[Partition]:
    """The partitions, oldest first, whose youngest message belongs to ClickHouse: reading and
    writing nearby keeps copies in Redis, and no row in PostgreSQL."""
    due = (
        each
        for each in partitions
        if keeping_tier((now_ms - milliseconds(each.high)) / 1000, rules) == "clickhouse"
    )
    return sorted(due, key=lambda each: each.low)
