"""The tiers of one process: its connections, breakers and what speaks to them, on first use."""

import importlib
from functools import cached_property, partial
from typing import cast

from redis import Redis
from sqlalchemy import Engine

from models.ids import Clock
from settings import Settings
from storage.availability.notices import Notices
from storage.availability.probes import Breakers
from storage.availability.reading import ReadTiers
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.reads import ClickHouseTier
from storage.postgres import engines
from storage.postgres.reads import PostgresTier
from storage.redis import client as redis_connections
from storage.redis.chunks import OpenStreams
from storage.redis.driver import RedisGateway
from storage.redis.event_streams import EventStreams
from storage.redis.messages import RedisTier
from storage.redis.pending_log import PendingLog
from storage.redis.repair import RedisRepair
from storage.redis.states import StateCacheManager
from storage.resilience import faultpoints
from storage.telemetry.counts import TIERS
from storage.telemetry.instruments import Instruments
from storage.telemetry.processes import instruments_of
from storage.telemetry.slow_queries import SlowQueries
from storage.telemetry.tracing import Tracing


class Tiers:
    """One process's way to everything below. Nothing connects before it is asked for.

    Made after a fork, never before: connections do not survive one. Raises `SettingsError` for
    fault points that the settings misspell.
    """

    def __init__(self, settings: Settings) -> None:
        faultpoints.enable(settings)
        self.settings = settings

    @cached_property
    def clock(self) -> Clock:
        return Clock()

    @cached_property
    def instruments(self) -> Instruments:
        return instruments_of(self.settings)

    @cached_property
    def slow_queries(self) -> SlowQueries:
        return SlowQueries(self.settings.slow_query_seconds, self.tracing)

    @cached_property
    def tracing(self) -> Tracing:
        return tracing_of(self.settings)

    @cached_property
    def redis_client(self) -> Redis:
        return redis_connections.redis_client(self.settings)

    @cached_property
    def request_engine(self) -> Engine:
        return self._watched(engines.request_engine(self.settings))

    @cached_property
    def job_engine(self) -> Engine:
        return self._watched(engines.job_engine(self.settings))

    @cached_property
    def quick_engine(self) -> Engine:
        return self._watched(engines.quick_engine(self.settings))

    @cached_property
    def watch_engine(self) -> Engine:
        return engines.watch_engine(self.settings)

    @cached_property
    def job_clickhouse(self) -> ClickHouse:
        return self.clickhouse_within(self.settings.clickhouse_job_timeout_seconds)

    @cached_property
    def breakers(self) -> Breakers:
        breakers = Breakers(self.settings, self.watch_engine)
        for tier in TIERS:
            breaker = breakers.of(tier)
            turned = partial(self.instruments.breaker, tier)
            breaker.on_opened.append(partial(turned, is_open=True))
            breaker.on_closed.append(partial(turned, is_open=False))
        return breakers

    @cached_property
    def redis_door(self) -> RedisGateway:
        return RedisGateway(
            self.redis_client,
            self.breakers.redis,
            redis_connections.replicas(self.settings),
            self.slow_queries,
        )

    @cached_property
    def redis(self) -> RedisTier:
        return RedisTier(self.redis_door, self.settings)

    @cached_property
    def state_cache(self) -> StateCacheManager:
        return StateCacheManager(self.redis_door, self.settings)

    @cached_property
    def redis_repair(self) -> RedisRepair:
        return RedisRepair(self.redis, self.settings)

    @cached_property
    def pending_log(self) -> PendingLog:
        return PendingLog(self.redis_door, self.settings)

    @cached_property
    def events(self) -> EventStreams:
        return EventStreams(self.redis_door, self.settings)

    @cached_property
    def open_streams(self) -> OpenStreams:
        return OpenStreams(self.redis, self.settings)

    @cached_property
    def postgres(self) -> PostgresTier:
        return PostgresTier(self.request_engine, self.breakers.postgresql)

    @cached_property
    def clickhouse(self) -> ClickHouseTier:
        server = self.clickhouse_within(self.settings.clickhouse_timeout_seconds)
        return ClickHouseTier(server, self.breakers.clickhouse)

    @cached_property
    def reads(self) -> ReadTiers:
        return ReadTiers(self.redis, self.postgres, self.clickhouse)

    @cached_property
    def notices(self) -> Notices:
        settings = self.settings
        server = ClickHouse(
            settings.clickhouse_url, settings.clickhouse_write_timeout_seconds, heeds_drills=False
        )
        client = redis_connections.small_client(settings, heeds_drills=False)
        return Notices(client, engines.notice_engine(settings), server)

    def clickhouse_within(self, seconds: float) -> ClickHouse:
        """The server with one deadline for every answer."""
        return ClickHouse(self.settings.clickhouse_url, seconds, slow=self.slow_queries)

    def give_back(self) -> None:
        """Closes the connections that were made and that nobody uses at this moment."""
        for made in list(vars(self).values()):
            if isinstance(made, Engine):
                made.dispose()
            elif isinstance(made, Redis):
                made.close()
            elif isinstance(made, ClickHouse):
                made.engine.dispose()

    def _watched(self, engine: Engine) -> Engine:
        self.slow_queries.watch(engine, "postgresql")
        return engine


def tracing_of(settings: Settings) -> Tracing:
    """The traces of this process. The packages they need are loaded only where they are wanted."""
    if not settings.otel_endpoint:
        return Tracing()
    found = importlib.import_module("storage.telemetry.opentelemetry")
    return cast(Tracing, found.OpenTelemetry(settings.otel_endpoint))
