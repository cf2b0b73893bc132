"""All that this process counted since it began, under the names of `Counts`."""

from collections.abc import Callable

from storage.availability.probes import Breakers
from storage.telemetry.counts import ANSWERS, Latencies
from storage.telemetry.slow_queries import SlowQueries
from storage.telemetry.totals import Totals


def own_totals(
    counted: Callable[[], Totals], answered: Latencies, breakers: Breakers, slow: SlowQueries
) -> dict[str, float]:
    """What the instruments, the routes, the breakers and the watch for slow statements counted."""
    totals = counted()
    numbers: dict[str, float] = {
        **{f"acknowledged:{tier}": count for tier, count in totals.acknowledged.items()},
        "writes": totals.writes,
        "refused": totals.refused,
        "failed_over": totals.failed_over,
        "persisted": totals.persisted,
        "replicated": totals.replicated,
        "archived": totals.archived,
        **answered.totals(ANSWERS),
    }
    for breaker in (breakers.redis, breakers.postgresql, breakers.clickhouse):
        numbers |= breaker.latencies.totals(breaker.tier)
        numbers[f"{breaker.tier}:slow"] = slow.counts[breaker.tier]
    return numbers
