"""Connections to Redis: made on first use, kept per process, bounded in time."""

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

LATE_SECONDS = 1.0
"""So late at most Redis ends a wait: it looks at its clock only a few times a second."""


class _RedisPool(ConnectionPool):
    """Gives each connection the deadline of the call that takes it; none while a drill has Redis be
    silent, and late where slow."""

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        if simulated_outage.is_silent("redis"):
            raise RedisConnectionError(simulated_outage.REASON)
        simulated_outage.wait("redis")
        connection: Any = super().get_connection(*arguments, **options)
        seconds = budget.bounded(self.connection_kwargs["socket_timeout"])
        if seconds != connection.socket_timeout:
            connection.socket_timeout = seconds
            # What it has open already takes it over by this.
            connection.update_current_socket_timeout(-1)
        return connection


def redis_client(settings: Settings, *, heeds_drills: bool = True) -> Redis:
    """A client of the data Redis that never repeats a write by itself.

    redis-py retries ten times unless told otherwise, and a write whose answer was lost would be
    applied again each time.
    """
    pool = (_RedisPool if heeds_drills else ConnectionPool).from_url(
        settings.redis_url,
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


def patient_client(settings: Settings, seconds: float) -> Redis:
    """A connection of its own for a command that waits in Redis for so many seconds."""
    longer = seconds + LATE_SECONDS
    return probe_client(msgspec.structs.replace(settings, redis_timeout_seconds=longer))
