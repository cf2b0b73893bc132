"""The breakers of one process, and how each finds out whether its tier is well again."""

from functools import partial

from redis import Redis
from sqlalchemy import Engine

from models.message import Tier
from settings import Settings
from storage.availability.checks.installation import judge_installation
from storage.availability.checks.redis import judge_redis
from storage.clickhouse.driver import ClickHouse
from storage.errors import TierUnavailable
from storage.postgres.driver import execute
from storage.postgres.driver import translated as postgres_translated
from storage.redis import client
from storage.redis.driver import Replicas
from storage.redis.driver import translated as redis_translated
from storage.resilience.breaker import Breaker

PROBE_KEY = "threadkeep:probe"
PROBE_KEY_MILLISECONDS = 1_000
CLICKHOUSE_SLOW_SECONDS = 3.0

_WRITABLE = (
    "SELECT NOT pg_is_in_recovery() AS takes_writes, to_regclass('messages') IS NOT NULL AS is_ours"
)


class Breakers:
    """A breaker for each tier. A probe takes its own connection and passes no breaker."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        redis, replicas = client.probe_client(settings), client.replicas(settings)
        server = ClickHouse(settings.clickhouse_url, settings.clickhouse_write_timeout_seconds)
        self.redis = Breaker(
            "redis", partial(_probe_redis, redis, engine, replicas), settings.redis_slow_seconds
        )
        self.postgresql = Breaker(
            "postgresql", partial(_probe_postgres, engine), settings.database_slow_seconds
        )
        self.clickhouse = Breaker("clickhouse", server.ping, CLICKHOUSE_SLOW_SECONDS)

    def of(self, tier: Tier) -> Breaker:
        """The breaker of one tier."""
        breaker: Breaker = getattr(self, tier)
        return breaker


def _probe_redis(client: Redis, engine: Engine, replicas: Replicas) -> None:
    """A write, because a Redis that is full, read-only or cannot reach its disk still answers.

    And it may not be the one that went, or not be set as that one was.
    """
    with redis_translated():
        pipeline = client.pipeline(transaction=False)
        pipeline.set(PROBE_KEY, 1, px=PROBE_KEY_MILLISECONDS)
        for command in replicas.commands() if replicas.wanted else ():
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        replicas.take(pipeline.execute())
    findings = [*judge_redis(client), *judge_installation(client, engine)]
    if refusals := [finding.line for finding in findings if finding.severity == "refuse"]:
        raise TierUnavailable("redis", "; ".join(refusals))


def _probe_postgres(engine: Engine) -> None:
    with postgres_translated(), engine.connect() as connection:
        found = execute(connection, _WRITABLE).one()
        if not found.takes_writes:
            raise TierUnavailable("postgresql", "it takes no writes: it is a standby")
        if not found.is_ours:
            raise TierUnavailable("postgresql", "it has no tables: it lost them, or is a new one")
