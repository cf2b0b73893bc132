"""What a caller is told where not all is well."""

from typing import NamedTuple

from models.message import Caveat, FailoverReason, Tier


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


_DEGRADED: dict[Tier, Degraded] = {
    "redis": Degraded(),
    "postgresql": Degraded("redis_unavailable", "degraded_performance_redis_unavailable"),
    "clickhouse": Degraded(
        "redis_and_postgresql_unavailable", "degraded_mode_redis_and_postgresql_unavailable"
    ),
}


_POSTGRESQL_OUT = Degraded(None, "degraded_mode_postgresql_unavailable")
