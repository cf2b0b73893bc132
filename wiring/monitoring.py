"""Puts together what a process counts and judges of how well it works, on first use."""

from functools import cached_property

from jobs.monitor.service import PerformanceService
from storage.availability.progress import ProgressWatch
from wiring.jobs import MaintenanceServices


class PerformanceServices(MaintenanceServices):
    """Windows, alerts, health and figures."""

    @cached_property
    def progress(self) -> ProgressWatch:
        seconds = self.settings.no_progress_seconds
        return ProgressWatch(self.pending_log, self.postgres, self.breakers, seconds)

    @cached_property
    def performance(self) -> PerformanceService:
        return PerformanceService(self, self.progress)
