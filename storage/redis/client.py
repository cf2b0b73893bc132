"""Connections to Redis: made on first use, kept per process, bounded in time."""

import time
from typing import Any

import msgspec
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from settings import Settings
from storage.redis.driver import Replicas
from storage.resilience import budget, simulated_outage

SMALL_CONNECTIONS = 8

CHECKED_SECONDS = 0.1
"""A connection that rested longer is looked at before it is used."""


class _RedisPool(ConnectionPool):
    """Gives each connection the deadline of the call that takes it; none while a drill has Redis be
    silent, and late where slow."""

    def __init__(self, *arguments: Any, heeds_drills: bool = True, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._heeds_drills = heeds_drills
        self._seconds: float = options["socket_timeout"]
        self._kept: list[tuple[Any, float]] = []

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        self._heed_drills()
        return self._bounded(super().get_connection(*arguments, **options))

    def take(self) -> Any:
        """A connection for one exchange, until `give`; without the bookkeeping of
        `get_connection`, which takes longer than the exchange."""
        self._heed_drills()
        try:
            connection, since = self._kept.pop()
        except IndexError:
            return self._bounded(super().get_connection())
        if time.monotonic() - since > CHECKED_SECONDS:
            _renew(connection)
        return self._bounded(connection)

    def give(self, connection: Any) -> None:
        """Keeps a connection for the next exchange."""
        self._kept.append((connection, time.monotonic()))

    def _heed_drills(self) -> None:
        if not self._heeds_drills or not simulated_outage.is_on():
            return
        if simulated_outage.is_silent("redis"):
            raise RedisConnectionError(simulated_outage.REASON)
        simulated_outage.wait("redis")

    def _bounded(self, connection: Any) -> Any:
        seconds = budget.bounded(self._seconds)
        if seconds != connection.socket_timeout:
            connection.socket_timeout = seconds
            # What it has open already takes it over by this.
            connection.update_current_socket_timeout(-1)
        return connection


def _renew(connection: Any) -> None:
    """Disconnects what Redis closed, or what has an answer that nobody awaits: it connects again
    when something is sent."""
    try:
        is_spoilt = connection.can_read()
    except RedisConnectionError:
        is_spoilt = True
    if is_spoilt:
        connection.disconnect()


def redis_client(settings: Settings, *, heeds_drills: bool = True) -> Redis:
    """A client of the data Redis that never repeats a write by itself.

    redis-py retries ten times unless told otherwise, and a write whose answer was lost would be
    applied again each time.
    """
    pool = _RedisPool.from_url(
        settings.redis_url,
        heeds_drills=heeds_drills,
        socket_timeout=settings.redis_timeout_seconds,
        socket_connect_timeout=settings.redis_timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        max_connections=settings.redis_connections,
        protocol=2,
    )
    client: Redis = Redis.from_pool(pool)
    return client


def replicas(settings: Settings) -> Replicas:
    """What a write waits for beside Redis's own disk, well within its deadline."""
    return Replicas(settings.redis_replicas, int(settings.redis_timeout_seconds * 300))


def probe_client(settings: Settings, *, heeds_drills: bool = True) -> Redis:
    """A connection of its own to ask the data Redis whether it is well."""
    own = msgspec.structs.replace(settings, redis_connections=1)
    return redis_client(own, heeds_drills=heeds_drills)


def small_client(settings: Settings, *, heeds_drills: bool = True) -> Redis:
    """A few connections for what threads of a process's own do, and no request waits for."""
    own = msgspec.structs.replace(settings, redis_connections=SMALL_CONNECTIONS)
    return redis_client(own, heeds_drills=heeds_drills)
