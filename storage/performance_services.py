"""Puts together what a process counts and judges of how well it works, on first use."""

from functools import cached_property

from storage import connections
from storage.audit import AuditTrail
from storage.maintenance_services import MaintenanceServices
from storage.performance.book import AlertBook
from storage.performance.counting import Counting
from storage.performance.counts import Latencies
from storage.performance.history import AlertHistory
from storage.performance.look import Looker
from storage.performance.monitor import PerformanceMonitor
from storage.performance.own_totals import own_totals
from storage.performance.service import PerformanceService
from storage.performance.webhook import WebhookSink
from storage.performance.windows import Windows
from storage.progress import ProgressWatch


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
        windows = Windows(connections.small_client(settings))
        server = self.clickhouse_within(settings.clickhouse_timeout_seconds)
        looker = Looker(
            self.redis_door,
            self.pending_log,
            self.request_engine,
            server,
            breakers,
            self.progress,
        )
        book = AlertBook(self.notices, breakers)
        monitor = PerformanceMonitor(
            settings,
            windows,
            looker,
            book,
            AlertHistory(self.quick_engine, breakers.postgresql),
            AuditTrail(self.quick_engine, server, breakers.clickhouse, self.clock),
            WebhookSink(
                settings.alert_webhook_url,
                settings.alert_webhook_secret,
                connections.small_client(settings),
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
