"""What one process counts, judges and shows of how well it works."""

import time

from jobs.monitor.alerts.monitor import PerformanceMonitor
from jobs.monitor.alerts.store import AlertStore
from jobs.monitor.counting import Counting
from jobs.monitor.pipeline import PipelineStatus, road
from jobs.monitor.snapshot import Snapshotter
from jobs.monitor.tier_performance import StoragePerformance, storage_performance
from jobs.monitor.windows import Windows
from storage.telemetry.counts import Latencies


class PerformanceService:
    """The one thing that a process begins, and that routes ask."""

    def __init__(
        self,
        answered: Latencies,
        counting: Counting,
        windows: Windows,
        looker: Snapshotter,
        book: AlertStore,
        monitor: PerformanceMonitor,
    ) -> None:
        self.answered = answered
        """Messages that this process acknowledged, from the request on."""
        self.monitor = monitor
        self.windows = windows
        self._counting = counting
        self._looker = looker
        self._book = book

    def begin(self, *, judges: bool) -> None:
        """Counts from now on, and judges, each in a thread. Once a process, after any fork."""
        self._counting.begin()
        if judges:
            self.monitor.begin()

    def road(self) -> PipelineStatus:
        """The road of a message as it is now; told whichever tier is out."""
        look = self._looker.look(is_thorough=True)
        now = time.time()
        return road(self.windows.recent(now), look, self._book.read(now), now)

    def get_storage_performance_metrics(self) -> StoragePerformance:
        """Each tier's latencies, slow statements and rates of the last minute."""
        now = time.time()
        return storage_performance(self.windows.recent(now), now)
