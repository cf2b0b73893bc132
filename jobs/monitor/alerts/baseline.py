"""How fast acknowledgements are now, and how fast they were when all was well."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from jobs.monitor.windows import SHOWN_WINDOWS, WINDOW_SECONDS, latest, window_of
from storage.telemetry.counts import Counts

NOW_WINDOWS = 3
"""Six seconds: short enough that figures are those of now, long enough for an average."""
MINUTE_WINDOWS = 60 // WINDOW_SECONDS
ENOUGH_NOW = 10
ENOUGH_LAST = 5
ENOUGH_BEFORE = 30
"""Fewer acknowledgements say nothing."""

Span = tuple[float, float]
"""From when until when, in seconds since 1970."""


class LatencyComparison(NamedTuple):
    """Counts of the last windows that are over, and the milliseconds of an acknowledgement before;
    None where there were too few."""

    now: Counts
    baseline_ms: float | None
    last: Counts = Counts()
    """The newest of these windows, the first to show a recovery."""
    minute: Counts = Counts()
    """What was counted in the last minute."""

    @property
    def current_ms(self) -> float | None:
        """Milliseconds of an acknowledgement now."""
        return self.now.average_ms() if self.now.answers >= ENOUGH_NOW else None

    @property
    def least_ms(self) -> float | None:
        """Likewise, or that of the newest window where it was faster."""
        if self.current_ms is None or self.last.answers < ENOUGH_LAST:
            return self.current_ms
        return min(self.current_ms, self.last.average_ms() or 0.0)


def compare_to_baseline(
    windows: Mapping[int, Counts], now: float, degraded: Iterable[Span]
) -> LatencyComparison:
    """Latency now and before. Windows within a degraded span are no measure of before."""
    first, spans = window_of(now) - NOW_WINDOWS, list(degraded)
    earlier = range(first - SHOWN_WINDOWS, first)
    before = [windows[at] for at in earlier if at in windows and not _is_within(at, spans)]
    current, last, minute = (latest(windows, now, n) for n in (NOW_WINDOWS, 1, MINUTE_WINDOWS))
    return LatencyComparison(current, _median_ms(before), last, minute)


def _is_within(window: int, spans: list[Span]) -> bool:
    begins = window * WINDOW_SECONDS
    return any(begins + WINDOW_SECONDS > since and begins < until for since, until in spans)


def _median_ms(windows: list[Counts]) -> float | None:
    """The median of the windows' averages, weighted by their acknowledgements."""
    known = sorted((one.average_ms() or 0.0, one.answers) for one in windows)
    counted = list(accumulate(count for _, count in known))
    if not counted or counted[-1] < ENOUGH_BEFORE:
        return None
    return known[bisect_left(counted, counted[-1] / 2)][0]
