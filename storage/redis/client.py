"""Connections to Redis: made on first use, kept per process, bounded in time."""

import os
import time
from typing import Any

import msgspec
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.retry import Retry

from settings import Settings
from storage.redis.driver import Replicas
from storage.resilience import budget, simulated_outage

SMALL_CONNECTIONS = 8

LATE_SECONDS = 1.0
"""So late at most Redis ends a wait: it looks at its clock only a few times a second."""


FRESH_SECONDS = 0.25
"""A connection that was used so lately is not asked first whether its server is still there."""


class DirectRedis(Redis):
    """A client whose commands go to a connection at once: what the base class does around each,
    for retries and figures that are not wanted here, costs more than Redis itself."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        """The answer to one command, sent once. Raises the errors of the base class."""
        pool: Any = self.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command(*command, check_health=False)
            parse: Any = self.parse_response
            return parse(connection, command[0], **options)
        except ResponseError:
            raise
        except BaseException:
            # What has yet to be read must not answer another command.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)


class _RedisPool(ConnectionPool):
    """Gives each connection the deadline of the call that takes it, without the calls that the base
    class makes for its figures. One that heeds drills gives none while a drill has Redis be silent,
    and gives it late where slow."""

    def __init__(self, *, heeds_drills: bool, **options: Any) -> None:
        super().__init__(**options)
        self._heeds_drills = heeds_drills
        self._seconds: float = options["socket_timeout"]
        self._doubted_at = 0.0

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        """A connection that is ready for a command."""
        if self._heeds_drills:
            if simulated_outage.is_silent("redis"):
                raise RedisConnectionError(simulated_outage.REASON)
            simulated_outage.wait("redis")
        connection = self._fresh() or super().get_connection(*arguments, **options)
        seconds = budget.bounded(self._seconds)
        if seconds != connection.socket_timeout:
            connection.socket_timeout = seconds
            # What it has open already takes it over by this.
            connection.update_current_socket_timeout(-1)
        return connection

    def release(self, connection: Any) -> None:
        """Takes a connection back. One that broke leaves all others in doubt."""
        now = time.monotonic()
        connection.used_at = now if connection.is_connected else 0.0
        if not connection.is_connected:
            self._doubted_at = now
        with self._lock:
            is_own = connection in self._in_use_connections and connection.pid == os.getpid()
            if is_own:
                self._in_use_connections.remove(connection)
                self._available_connections.append(connection)
        if not is_own:
            super().release(connection)

    def _fresh(self) -> Any:
        """The idle connection that was used last, if that was a moment ago."""
        since = max(self._doubted_at, time.monotonic() - FRESH_SECONDS)
        with self._lock:
            idle: Any = self._available_connections
            if not idle or idle[-1].pid != os.getpid() or idle[-1].used_at <= since:
                return None
            self._in_use_connections.add(idle[-1])
            return idle.pop()


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
    client: Redis = DirectRedis.from_pool(pool)
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
