"""What a caller is told of an answer: how durable it is, and what is not well."""

from collections.abc import Callable
from typing import NamedTuple

from models.message import Caveat, Durability, FailoverReason, Message, Tier


def warning_of(down: set[str]) -> Caveat | None:
    """What a caller is told of the tiers that did not answer."""
    if {"redis", "postgresql"} <= down:
        return "degraded_mode_redis_and_postgresql_unavailable"
    if "redis" in down:
        return "degraded_performance_redis_unavailable"
    if "postgresql" in down:
        return "degraded_mode_postgresql_unavailable"
    return "incomplete_clickhouse_unavailable" if down else None


class Degraded(NamedTuple):
    """What a caller is told when not all is well; nothing when it is."""

    failover_reason: FailoverReason | None = None
    warning: Caveat | None = None


class Acknowledgement(NamedTuple):
    """What a caller may be told. `record` is the message as it is stored; `wake_slot` is the slot
    whose worker this caller is to wake; `repeated` says that an earlier request with the same key
    made the message; `degraded` is what is not as it should be."""

    message: Message
    record: bytes
    tier_used: Tier
    durability: Durability
    wake_slot: int | None
    repeated: bool
    degraded: Degraded


_BY_TIER: dict[Tier, Degraded] = {
    "redis": Degraded(),
    "postgresql": Degraded("redis_unavailable", "degraded_performance_redis_unavailable"),
    "clickhouse": Degraded(
        "redis_and_postgresql_unavailable", "degraded_mode_redis_and_postgresql_unavailable"
    ),
}


def degraded(tier: Tier, *, is_postgresql_down: bool = False) -> Degraded:
    """What the caller of a write is told, by the fastest tier that took it."""
    if tier == "redis" and is_postgresql_down:
        return Degraded(None, "degraded_mode_postgresql_unavailable")
    return _BY_TIER[tier]


def durability(tier: Tier, of_redis: Callable[[], Durability]) -> Durability:
    """What an acknowledgement means, by the slowest tier that has the write; Redis is asked what
    its own means."""
    if tier == "redis":
        return of_redis()
    return "committed" if tier == "postgresql" else "archived"
