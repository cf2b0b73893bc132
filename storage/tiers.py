"""The tiers of one process: its connections, breakers and what speaks to them, on first use."""

import importlib
from collections.abc import Callable
from functools import cached_property, partial
from typing import Generic, TypeVar, cast

from redis import Redis
from sqlalchemy import Engine

from models.ids import Clock
from settings import Settings
from storage.availability.notices import Notices
from storage.availability.probes import Breakers
from storage.availability.reading import ReadTiers
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.reads import ClickHouseTier
from storage.identity.known import KnownCredentials
from storage.postgres import acting, engines
from storage.postgres.reads import PostgresTier
from storage.redis import client as redis_connections
from storage.redis.chunks import OpenStreams
from storage.redis.driver import RedisGateway
from storage.redis.event_streams import EventStreams
from storage.redis.messages import RedisTier
from storage.redis.pending_log import PendingLog
from storage.redis.repair import RedisRepair
from storage.redis.states import StateCacheManager
from storage.redis.tickets import Tickets
from storage.resilience import faultpoints
from storage.telemetry.counts import TIERS
from storage.telemetry.processes import instruments_of
from storage.telemetry.slow_queries import SlowQueries
from storage.telemetry.tracing import Tracing

Owner = TypeVar("Owner")
Made = TypeVar("Made")


class OnFirstUse(Generic[Owner]):
    """Makes parts of an owner, each when it is asked for the first time."""

    def __call__(self, make: Callable[[Owner], Made]) -> cached_property[Made]:
        return cached_property(make)


_made = OnFirstUse["Tiers"]()


class Tiers:
    """One process's way to everything below. Nothing connects before it is asked for.

    Made after a fork, never before: connections do not survive one. Raises `SettingsError` for
    fault points that the settings misspell.
    """

    def __init__(self, settings: Settings, *, serves_users: bool = False) -> None:
        """A process that `serves_users` acts in PostgreSQL as the role that sees nothing but the
        rows of the user in question; its jobs are those of admins."""
        faultpoints.enable(settings)
        self.settings = settings
        self._serves_users = serves_users
        self._role = acting.WEB if serves_users else ""

    clock = _made(lambda own: Clock())
    instruments = _made(lambda own: instruments_of(own.settings))
    tracing = _made(lambda own: tracing_of(own.settings))
    slow_queries = _made(lambda own: SlowQueries(own.settings.slow_query_seconds, own.tracing))
    redis_client = _made(lambda own: redis_connections.redis_client(own.settings))
    request_engine = _made(
        lambda own: own._watched(engines.request_engine(own.settings, own._role))
    )
    quick_engine = _made(lambda own: own._watched(engines.quick_engine(own.settings, own._role)))
    watch_engine = _made(lambda own: engines.watch_engine(own.settings, own._role))

    @cached_property
    def operator_engine(self) -> Engine:
        """For what a request does that is about everybody: an admin's call, the monitor, keys."""
        if not self._serves_users:
            return self.request_engine
        return self._watched(engines.operator_engine(self.settings))

    @cached_property
    def job_engine(self) -> Engine:
        """For jobs, which are about everybody; in a web process they are admins'."""
        role = acting.OPERATOR if self._serves_users else ""
        return self._watched(engines.job_engine(self.settings, role))

    migrate_engine = _made(lambda own: own._watched(engines.migrate_engine(own.settings)))
    job_clickhouse = _made(
        lambda own: own.clickhouse_within(own.settings.clickhouse_job_timeout_seconds)
    )

    @cached_property
    def breakers(self) -> Breakers:
        breakers = Breakers(self.settings, self.watch_engine)
        for tier in TIERS:
            breaker = breakers.of(tier)
            turned = partial(self.instruments.breaker, tier)
            breaker.on_opened.append(partial(turned, is_open=True))
            breaker.on_closed.append(partial(turned, is_open=False))
        return breakers

    redis_door = _made(
        lambda own: RedisGateway(
            own.redis_client,
            own.breakers.redis,
            redis_connections.replicas(own.settings),
            own.slow_queries,
        )
    )
    redis = _made(lambda own: RedisTier(own.redis_door, own.settings))
    state_cache = _made(lambda own: StateCacheManager(own.redis_door, own.settings))
    redis_repair = _made(lambda own: RedisRepair(own.redis, own.settings))
    pending_log = _made(lambda own: PendingLog(own.redis_door, own.settings))
    events = _made(lambda own: EventStreams(own.redis_door, own.settings))
    tickets = _made(lambda own: Tickets(own.redis_door))
    open_streams = _made(lambda own: OpenStreams(own.redis, own.settings))
    postgres = _made(
        lambda own: PostgresTier(own.request_engine, own.operator_engine, own.breakers.postgresql)
    )

    @cached_property
    def clickhouse(self) -> ClickHouseTier:
        server = self.clickhouse_within(self.settings.clickhouse_timeout_seconds)
        return ClickHouseTier(server, self.breakers.clickhouse)

    reads = _made(lambda own: ReadTiers(own.redis, own.postgres, own.clickhouse))

    credentials = _made(lambda own: KnownCredentials(own.operator_engine, own.breakers.postgresql))

    @cached_property
    def notices(self) -> Notices:
        settings = self.settings
        server = ClickHouse(
            settings.clickhouse_url, settings.clickhouse_write_timeout_seconds, heeds_drills=False
        )
        client = redis_connections.small_client(settings, heeds_drills=False)
        return Notices(client, engines.notice_engine(settings, self._role), server)

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
