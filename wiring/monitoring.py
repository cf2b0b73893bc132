"""Puts together what a process counts and judges of how well it works, on first use."""

from functools import cached_property

from jobs.audit import AuditTrail
from jobs.monitor.alerts.history import AlertHistory
from jobs.monitor.alerts.monitor import PerformanceMonitor
from jobs.monitor.alerts.store import AlertStore
from jobs.monitor.alerts.webhook import WebhookSink
from jobs.monitor.counting import Counting, own_totals
from jobs.monitor.service import PerformanceService
from jobs.monitor.snapshot import Snapshotter
from jobs.monitor.windows import Windows
from storage.availability.progress import ProgressWatch
from storage.redis import client
from storage.telemetry.counts import Latencies
from wiring.jobs import MaintenanceServices


class PerformanceServices(MaintenanceServices):
    """Windows, the monitor, and the road as figures."""

    @cached_property
    def progress(self) -> ProgressWatch:
        seconds = self.settings.no_progress_seconds
        return ProgressWatch(self.pending_log, self.postgres, self.breakers, seconds)

    @cached_property
    def performance(self) -> PerformanceService:
        settings, breakers = self.settings, self.breakers
        # Connections of their own, for which no request waits.
        windows = Windows(client.small_client(settings))
        server = self.clickhouse_within(settings.clickhouse_timeout_seconds)
        looker = Snapshotter(
            self.redis_door,
            self.pending_log,
            self.request_engine,
            server,
            breakers,
            self.progress,
        )
        book = AlertStore(self.notices, breakers)
        monitor = PerformanceMonitor(
            settings,
            windows,
            looker,
            book,
            AlertHistory(self.quick_engine, breakers.postgresql),
            AuditTrail(self.quick_engine, self.clock),
            WebhookSink(
                settings.alert_webhook_url,
                settings.alert_webhook_secret,
                client.small_client(settings),
                self.instruments,
            ),
            self.clock,
            self.instruments,
        )
        answered, counted, slow = Latencies(), self.instruments.totals, self.slow_queries
        counting = Counting(
            lambda: own_totals(counted, answered, breakers, slow), windows, self.instruments
        )
        return PerformanceService(answered, counting, windows, looker, book, monitor)
