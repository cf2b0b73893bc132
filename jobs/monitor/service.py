"""What one process counts, judges and shows of how well it works."""

import threading
import time

from jobs.monitor.alerts.monitor import PerformanceMonitor
from jobs.monitor.figures import StoreFigures, figures
from jobs.monitor.health import PersistenceHealth, persistence_health
from jobs.monitor.pipeline import PipelineStatus, road
from jobs.monitor.snapshot import Snapshotter
from jobs.monitor.tier_performance import StoragePerformance, storage_performance
from jobs.monitor.windows import Counting, Windows
from storage.availability.checks.safety import judge
from storage.availability.progress import ProgressWatch
from storage.redis.client import small_client
from storage.tiers import Tiers

HELD_SECONDS = 2.0
"""How long figures are given again, however many scrape."""


class PerformanceService:
    """What a process begins, and what routes and commands ask."""

    def __init__(self, tiers: Tiers, progress: ProgressWatch) -> None:
        self._tiers = tiers
        # A connection of its own, for which no request waits.
        self.windows = Windows(small_client(tiers.settings))
        self.snapshots = Snapshotter(tiers, progress)
        self.monitor = PerformanceMonitor(tiers, self.windows, self.snapshots)
        self._counting = Counting(tiers, self.windows)
        self.answered = self._counting.answered
        """Messages that this process acknowledged, from the request on."""
        self._lock = threading.Lock()
        self._held: StoreFigures | None = None
        self._held_until = float("-inf")

    def begin(self, *, judges: bool) -> None:
        """Counts from now on, and judges, each in a thread. Once a process, after any fork."""
        self._counting.begin()
        if judges:
            self.monitor.begin()

    def health(self) -> PersistenceHealth:
        """Each tier's state and lag, and which promises hold."""
        own = self._tiers
        verdict = judge(own.settings, own.redis_client, own.request_engine)
        return persistence_health(self.snapshots.take(), verdict)

    def figures(self) -> StoreFigures:
        """The figures of now, or of a moment ago. Never raises."""
        with self._lock:
            if self._held is None or time.monotonic() >= self._held_until:
                self._held = figures(self.snapshots.take(), self.monitor.firing())
                self._held_until = time.monotonic() + HELD_SECONDS
            return self._held

    def road(self) -> PipelineStatus:
        """The pipeline as it is now, whichever tier is down."""
        seen = self.snapshots.take()
        now = time.time()
        return road(self.windows.recent(now), seen, self.monitor.state(now), now)

    def get_storage_performance_metrics(self) -> StoragePerformance:
        """Each tier's latencies, slow statements and rates of the last minute."""
        now = time.time()
        return storage_performance(self.windows.recent(now), now)
