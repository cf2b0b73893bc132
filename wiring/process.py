"""Puts the services of one process together over its tiers, on first use."""

import time
from contextlib import suppress
from functools import cached_property

import structlog

from jobs.monitor.service import PerformanceService
from models.message import Durability
from settings import Settings
from storage.analytics.cache import FiguresCache
from storage.analytics.clickhouse import ArchiveFigures
from storage.analytics.hidden import Hidden
from storage.analytics.service import AnalyticsService
from storage.availability.drills import DrillService
from storage.availability.progress import ProgressWatch
from storage.errors import TierUnavailable
from storage.messages.hot_reads import HotReads
from storage.messages.receipts import ReceiptService
from storage.messages.storage_service import UnifiedMessageStorageService
from storage.messages.streaming_service import StreamingService
from storage.redis.server import durability_of
from storage.redis.unpersisted import UnpersistedWrites
from storage.search.clickhouse import SearchArchive
from storage.search.postgres import SearchRows
from storage.search.service import SearchService
from storage.states.service import StateService
from storage.threads.service import ThreadService
from storage.threads.thread_cache_manager import ThreadCacheManager
from storage.tiers import OnFirstUse, Tiers
from wiring.failover import FailoverServices
from wiring.jobs import JobServices

log = structlog.get_logger(__name__)

DURABILITY_RECHECK_SECONDS = 30.0


_made = OnFirstUse["Services"]()


class Services:
    """One process's way to everything below; nothing connects before it is asked for. Made after a
    fork: connections do not survive one. Raises `SettingsError` for fault points that the settings
    misspell."""

    def __init__(self, settings: Settings, *, serves_users: bool = False) -> None:
        self.settings = settings
        self.tiers = Tiers(settings, serves_users=serves_users)
        self._durability: tuple[Durability, float] = ("memory", 0.0)

    failover = _made(lambda own: FailoverServices(own.tiers))
    jobs = _made(lambda own: JobServices(own.tiers, own.failover))
    messages = _made(
        lambda own: UnifiedMessageStorageService(
            own.failover.writes,
            own.failover.retrieval,
            own.tiers.open_streams,
            clock=own.tiers.clock,
            slots=own.settings.shards,
            redis_durability=own.redis_durability,
        )
    )

    @cached_property
    def streaming(self) -> StreamingService:
        idle = self.settings.stream_idle_seconds
        return StreamingService(
            self.messages,
            self.failover.retrieval,
            self.tiers.open_streams,
            self.failover.log_quota,
            idle_seconds=idle,
        )

    thread_cache_manager = _made(
        lambda own: ThreadCacheManager(own.tiers, own.failover.retrieval, own.failover.lease)
    )
    threads = _made(
        lambda own: ThreadService(own.tiers, own.failover.writes, own.thread_cache_manager)
    )
    unpersisted_writes = _made(lambda own: UnpersistedWrites(own.tiers.redis))

    @cached_property
    def search(self) -> SearchService:
        server = self.tiers.clickhouse_within(self.settings.clickhouse_timeout_seconds)
        return SearchService(
            self.unpersisted_writes,
            SearchRows(self.tiers.postgres),
            SearchArchive(server, self.tiers.breakers.clickhouse),
            self.failover.lease,
            self.tiers.instruments,
        )

    @cached_property
    def analytics(self) -> AnalyticsService:
        settings = self.settings
        server = self.tiers.clickhouse_within(settings.clickhouse_timeout_seconds)
        return AnalyticsService(
            ArchiveFigures(server, self.tiers.breakers.clickhouse),
            Hidden(self.tiers.postgres, self.unpersisted_writes, self.tiers.pending_log),
            FiguresCache(self.tiers.redis_door, settings.analytics_cache_seconds),
            self.tiers.postgres,
            self.tiers.redis_door,
            settings,
        )

    states = _made(
        lambda own: StateService(
            own.failover.state_chain,
            own.tiers.clock,
            own.settings,
            redis_durability=own.redis_durability,
        )
    )
    drills = _made(lambda own: DrillService(own.settings, own.tiers.notices, own.tiers.clock))
    hot_reads = _made(
        lambda own: HotReads(own.tiers.redis, own.failover.lease, own.tiers.instruments)
    )
    receipts = _made(lambda own: ReceiptService(own.tiers.reads))

    @cached_property
    def progress(self) -> ProgressWatch:
        seconds = self.settings.no_progress_seconds
        return ProgressWatch(
            self.tiers.pending_log, self.tiers.postgres, self.tiers.breakers, seconds
        )

    performance = _made(lambda own: PerformanceService(own.tiers, own.progress))

    def redis_durability(self) -> Durability:
        """What an acknowledgement from Redis means, looked up again now and then."""
        level, until = self._durability
        if time.monotonic() >= until:
            with suppress(TierUnavailable):
                level = durability_of(self.tiers.redis_door)
            if level != self._durability[0] or not until:
                report = log.info if level == "fsynced" else log.warning
                report("redis_durability", level=level)
            self._durability = (level, time.monotonic() + DURABILITY_RECHECK_SECONDS)
        return level
