"""Which Redis answers, and whether it is this installation's.

PostgreSQL and Redis hold the same mark. A Redis without one is new, or has lost everything; one
with another mark holds somebody else's messages, and must be given none of ours.
"""

from typing import Any, NamedTuple

from redis import Redis
from sqlalchemy import Engine

from storage.availability.checks.finding import Finding
from storage.errors import TierError
from storage.postgres.driver import execute
from storage.postgres.driver import translated as postgres_translated
from storage.redis import keys
from storage.redis.driver import translated as redis_translated

FOREIGN = "it belongs to another installation"
ADVICE = "correct REDIS_URL or DATABASE_URL: the two are not of one installation"
_MARK = "SELECT installation::text FROM redis_state"


class RedisIdentity(NamedTuple):
    """A Redis's run, the mark in it (empty if none), and whether this run ever evicted a key."""

    run_id: str
    installation: str
    has_evicted: bool


def identity(client: Redis) -> RedisIdentity:
    """Which Redis this is, in one round trip. Raises the driver's errors."""
    pipeline: Any = client.pipeline(transaction=False)
    pipeline.info("server")
    pipeline.info("stats")
    pipeline.get(keys.INSTALLATION)
    server, stats, mark = pipeline.execute()
    # Where a server does not tell its run, the moment of its start does as well.
    run_id = str(server.get("run_id") or server.get("process_id"))
    return RedisIdentity(run_id, (mark or b"").decode(), bool(stats.get("evicted_keys", 0)))


def judge_installation(client: Redis, engine: Engine) -> list[Finding]:
    """A finding that refuses where Redis belongs to somebody else. Nothing where it does not, or
    where one of the two does not say."""
    try:
        with redis_translated():
            mark = identity(client).installation
        if not mark:
            return []
        with postgres_translated(), engine.connect() as connection:
            is_ours = execute(connection, _MARK).scalar_one() == mark
    except TierError:
        return []
    return [] if is_ours else [Finding("redis", "installation", False, FOREIGN, ADVICE, "refuse")]
