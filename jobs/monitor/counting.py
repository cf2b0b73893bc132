"""Takes what this process counted to the windows, every two seconds, in a thread of its own."""

import time
from functools import partial

from jobs.monitor.windows import WINDOW_SECONDS, Windows
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.counts import ANSWERS, TIERS, Counts, Latencies
from storage.tiers import Tiers


class Counting:
    """One process's counts, on their way to the windows of all."""

    def __init__(self, tiers: Tiers, windows: Windows) -> None:
        self.answered = Latencies()
        self._tiers = tiers
        self._windows = windows
        self._before: Counts | None = None
        # At the end of each window by the clock, so that windows of all processes agree.
        self._thread = PeriodicThread(
            "counting",
            lambda: self.count(time.time()),
            lambda: WINDOW_SECONDS - time.time() % WINDOW_SECONDS,
            "not_counted",
            on_failure=partial(tiers.instruments.round_failed, "counting"),
            waits_first=True,
            shows_traceback=False,
        )

    def begin(self) -> None:
        """Counts from now on. Once a process, after any fork."""
        self._before = self._totals()
        self._thread.begin()

    def count(self, now: float) -> None:
        """Adds what was counted since the last time to the window that has just ended."""
        totals = self._totals()
        grown, self._before = totals.since(self._before or {}), totals
        self._windows.add(now - WINDOW_SECONDS / 2, grown)

    def _totals(self) -> Counts:
        """What this process counted since it began."""
        tiers = self._tiers
        numbers = Counts(tiers.instruments.counts() | self.answered.totals(ANSWERS))
        for tier in TIERS:
            numbers |= tiers.breakers.of(tier).latencies.totals(tier)
            numbers[f"{tier}:slow"] = tiers.slow_queries.counts[tier]
        return numbers
