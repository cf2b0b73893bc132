"""The shapes of what is counted."""

from typing import Literal, NamedTuple, get_args

import msgspec
from msgspec import UNSET, UnsetType

from models.message import Caveat, Tier

Metric = Literal["messages", "threads", "bytes", "average_bytes", "p95_bytes", "active_users"]
Bucket = Literal["minute", "hour", "day", "week"]

METRICS: tuple[str, ...] = get_args(Metric)
BUCKETS: tuple[str, ...] = get_args(Bucket)


class MessageFigures(msgspec.Struct, kw_only=True, frozen=True):
    """Messages that are not deleted, counted once each. Bytes are those of their text in UTF-8."""

    messages: int
    threads: int
    by_role: dict[str, int]
    bytes: int
    average_bytes: float
    p95_bytes: int
    first_message_at: str | None
    last_message_at: str | None


class TierSize(msgspec.Struct, kw_only=True, frozen=True):
    """What a tier holds: in memory for Redis, else on disk; with what that costs a month at the
    prices of the settings, and how many times smaller ClickHouse makes it."""

    bytes: int
    cost_per_month: float
    compression: float | UnsetType = UNSET


class EveryonesFigures(MessageFigures, kw_only=True, frozen=True):
    """The figures of all users, and what the tiers hold; one that does not answer is left out."""

    active_users: int
    tiers: dict[Tier, TierSize]


class Summary(MessageFigures, kw_only=True, frozen=True):
    """A user's figures, for an admin everyone's too. What was written up to `as_of` is counted,
    what came later perhaps not yet."""

    as_of: str
    everyone: EveryonesFigures | UnsetType = UNSET
    warning: Caveat | UnsetType = UNSET


class Point(msgspec.Struct, kw_only=True, frozen=True):
    """A bucket, by its beginning."""

    at: str
    value: float


class Series(msgspec.Struct, kw_only=True, frozen=True):
    """A figure bucket by bucket, oldest first, those included in which nothing was written."""

    metric: Metric
    bucket: Bucket
    points: list[Point]
    as_of: str
    warning: Caveat | UnsetType = UNSET


class Counted(NamedTuple):
    """Which messages are counted: of one user, or everyone's; from `since` on and before `until`,
    RFC 3339 in UTC with six digits; of one role."""

    user_id: str | None
    since: str | None = None
    until: str | None = None
    role: str | None = None
