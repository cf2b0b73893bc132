"""Takes what this process counted to the windows, every two seconds, in a thread of its own."""

import time
from collections.abc import Callable, Mapping
from functools import partial

from jobs.monitor.windows import WINDOW_SECONDS, Windows
from storage.availability.probes import Breakers
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.counts import ANSWERS, Counts, Latencies
from storage.telemetry.instruments import Instruments
from storage.telemetry.slow_queries import SlowQueries
from storage.telemetry.totals import Totals


class Counting:
    """`totals` are this process's own numbers since it began, by the names of `Counts`."""

    def __init__(
        self,
        totals: Callable[[], Mapping[str, float]],
        windows: Windows,
        instruments: Instruments,
    ) -> None:
        self._totals = totals
        self._windows = windows
        self._before: Counts | None = None
        # At the end of each window by the clock, so that windows of all processes agree.
        self._thread = PeriodicThread(
            "counting",
            lambda: self.count(time.time()),
            lambda: WINDOW_SECONDS - time.time() % WINDOW_SECONDS,
            "not_counted",
            on_failure=partial(instruments.round_failed, "counting"),
            waits_first=True,
            shows_traceback=False,
        )

    def begin(self) -> None:
        """Counts from now on. Once a process, after any fork."""
        self._before = Counts(self._totals())
        self._thread.begin()

    def count(self, now: float) -> None:
        """Adds what was counted since the last time to the window that has just ended."""
        totals = Counts(self._totals())
        grown, self._before = totals.since(self._before or {}), totals
        self._windows.add(now - WINDOW_SECONDS / 2, grown)


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
