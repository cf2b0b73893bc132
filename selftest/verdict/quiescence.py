"""Waiting until the backlog has drained, or the time for that is over."""

import time
from collections.abc import Set

from redis import RedisError
from sqlalchemy import select, table

from models import tables
from models.clickhouse_tables import messages as archive
from selftest.record.account import Account
from selftest.verdict.evidence import count
from storage.clickhouse import direct_writes
from storage.clickhouse.driver import translated as clickhouse_translated
from storage.errors import TierError
from storage.postgres.driver import translated as postgres_translated
from wiring.process import Services

DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.25
_BACKFILL = table("redis_backfill")


def wait_until_quiet(
    services: Services,
    account: Account,
    seconds: float = DEADLINE_SECONDS,
    lost: Set[str] = frozenset(),
) -> str:
    """Wait until no queue has entries, and PostgreSQL and ClickHouse have each acknowledged
    message, except those lost with a disk on purpose.

    Returns an empty text then, and after `seconds` a text that names what still waits.
    """
    wanted = {history.id for history in account.histories() if history.must_be_seen} - lost
    users = sorted({user_id for user_id, _ in account.threads()})
    deadline = time.monotonic() + seconds
    while True:
        in_the_way = _in_the_way(services, wanted, users)
        if not in_the_way or time.monotonic() > deadline:
            return in_the_way
        time.sleep(POLL_SECONDS)


def _in_the_way(services: Services, wanted: set[str], users: list[str]) -> str:
    try:
        # In the order in which writes are carried, so that none is missed in between.
        waiting = {
            "in ClickHouse to be replayed": direct_writes.count_direct_writes(
                services.tiers.job_clickhouse
            ),
            "in the log": sum(services.tiers.pending_log.backlog()),
            "in the outbox": count(services.tiers.job_engine, tables.clickhouse_outbox),
            "to be backfilled to Redis": count(services.tiers.job_engine, _BACKFILL),
        }
        if any(waiting.values()):
            found = [f"{number} {where}" for where, number in waiting.items() if number]
            return f"entries wait: {', '.join(found)}"
        uncommitted = len(wanted - _committed_ids(services, users))
        unarchived = len(wanted - _archived_ids(services, users))
    except (TierError, RedisError) as error:
        return f"a tier does not answer: {error}"
    if uncommitted or unarchived:
        return f"{uncommitted} messages are not in PostgreSQL, {unarchived} not in ClickHouse"
    return ""


def _committed_ids(services: Services, users: list[str]) -> set[str]:
    query = select(tables.messages.c.id).where(tables.messages.c.user_id.in_(users))
    with postgres_translated(), services.tiers.job_engine.connect() as connection:
        return set(connection.execute(query).scalars())


def _archived_ids(services: Services, users: list[str]) -> set[str]:
    query = select(archive.c.id).where(archive.c.user_id.in_(users))
    with clickhouse_translated(), services.tiers.job_clickhouse.engine.connect() as connection:
        return {str(name) for name in connection.execute(query).scalars()}
