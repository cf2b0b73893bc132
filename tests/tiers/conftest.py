"""The tiers by themselves: own servers, no worker, so each step is the test's to take.

Every test begins with an empty Redis. PostgreSQL and ClickHouse keep what was written: users
differ from test to test.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import delete, text

from jobs.consistency.report import ConsistencyReport, Scope
from jobs.migrate import migrate_all
from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models import codec
from models.message import Message, Thread
from models.tables import dead_letters
from storage.clickhouse import direct_writes
from storage.clickhouse.reads import ClickHouseTier
from storage.postgres import writes
from storage.postgres.reads import PostgresTier
from storage.redis.messages import RedisTier
from support.calls.disasters import settle
from support.data.archives import fresh
from support.faults.outages import end_all, end_bypasses
from support.stack.clickhouse_requests import clickhouse_post
from support.stack.servers import servers
from support.stack.tiers import tiers
from support.waiting import eventually
from wiring.process import Services

PATIENT = {
    "THREADKEEP_REDIS_TIMEOUT_SECONDS": "5",
    "THREADKEEP_REDIS_SLOW_SECONDS": "5",
    "THREADKEEP_DATABASE_QUICK_SECONDS": "5",
    "THREADKEEP_CLICKHOUSE_WRITE_TIMEOUT_SECONDS": "5",
}
"""Which tier takes a write is the test's matter, not that of how busy the machine is."""


@pytest.fixture(autouse=True)
def nobody_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise what PostgreSQL is asked beside a write to Redis."""
    monkeypatch.setattr("storage.messages.postgres_writes.HURRY_SECONDS", 5.0)


@pytest.fixture(scope="package")
def lone_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment that names servers to which nobody else writes."""
    with servers(tmp_path_factory.mktemp("servers") / "data") as env:
        yield env | PATIENT


@pytest.fixture(scope="package")
def lone_services(lone_env: dict[str, str]) -> Iterator[Services]:
    """Their tiers."""
    with tiers(lone_env) as alone:
        migrate_all(alone.tiers.migrate_engine, alone.tiers.job_clickhouse, 1)
        yield alone


@pytest.fixture
def as_web(alone: Services, lone_env: dict[str, str]) -> Iterator[Services]:
    """The same as a web process has them."""
    with tiers(lone_env, serves_users=True) as web:
        yield web


@pytest.fixture
def alone(lone_services: Services) -> Services:
    """The same, with Redis empty, and adopted as a worker would; nothing waits in ClickHouse."""
    settle(lone_services)
    lone_services.tiers.redis_client.flushall()
    if direct_writes.count_direct_writes(lone_services.tiers.job_clickhouse):
        lone_services.failover.handoff.replay()
        end_bypasses(lone_services)
    lone_services.failover.redis_recovery.adopt()
    return lone_services


@pytest.fixture
def brought_home(alone: Services) -> Iterator[None]:
    """What a test leaves in ClickHouse is no matter of the next one."""
    yield
    alone.failover.handoff.replay()
    end_bypasses(alone)
    alone.failover.redis_recovery.reconcile()


@pytest.fixture
def steady_lease(alone: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For tests in which nobody overwrites beside Redis what this process has read: no busy
    machine has the lease lapse."""
    lease = alone.failover.lease
    monkeypatch.setattr("storage.availability.lease.LEASE_SECONDS", 5.0)
    eventually(lambda: lease.current().is_known and lease._until > time.monotonic() + 2)
    yield
    lease._until = 0.0


@pytest.fixture(autouse=True)
def processes_end() -> Iterator[None]:
    """Tests make processes for which tiers are out; none of them outlives its test."""
    yield
    end_all()


@pytest.fixture
def redis_tier(alone: Services) -> RedisTier:
    return alone.tiers.redis


@pytest.fixture
def postgres_tier(alone: Services) -> PostgresTier:
    return alone.tiers.postgres


@pytest.fixture
def clickhouse_tier(alone: Services) -> ClickHouseTier:
    return alone.tiers.clickhouse


@pytest.fixture
def drain(alone: Services) -> Callable[[], Drained]:
    """Drains the whole log once, as a worker would."""
    return lambda: alone.jobs.persistence.drain_all(range(alone.settings.shards))


@pytest.fixture
def write(alone: Services) -> Callable[..., int]:
    """Upserts versions in one transaction, beside the log; gives how many were newer."""

    def upsert(*versions: Message) -> int:
        with alone.tiers.job_engine.begin() as connection:
            records = [codec.encode(version) for version in versions]
            return writes.upsert_messages(connection, records)

    return upsert


@pytest.fixture
def write_thread(alone: Services) -> Callable[[Thread], None]:
    """Upserts a version of a thread's own data, beside the log."""

    def upsert(thread: Thread) -> None:
        with alone.tiers.job_engine.begin() as connection:
            writes.upsert_thread(connection, thread)

    return upsert


@pytest.fixture
def service(alone: Services) -> DeadLetterService:
    """The dead letters, of which there is none yet."""
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(delete(dead_letters))
    return alone.jobs.dead_letters


@pytest.fixture
def bad() -> Iterator[ExitStack]:
    """What is entered here makes PostgreSQL refuse; closing it takes the cause away."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="package")
def archive_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Servers whose old messages are all the test's own, for an archiver takes all of them."""
    with servers(tmp_path_factory.mktemp("archive") / "data") as env, tiers(env | PATIENT) as found:
        migrate_all(found.tiers.migrate_engine, found.tiers.job_clickhouse, 1)
        yield found


@pytest.fixture
def store(archive_services: Services) -> Services:
    """The same with nothing in it."""
    settle(archive_services)
    archive_services.tiers.redis_client.flushall()
    fresh(archive_services)
    archive_services.failover.redis_recovery.adopt()
    return archive_services


@pytest.fixture
def check(alone: Services, user: str) -> Callable[..., ConsistencyReport]:
    """Checks what this test's own user has."""

    def run(*, repair: bool = False) -> ConsistencyReport:
        return alone.jobs.consistency_checker.check(
            Scope(user_id=user), actor="test", repair=repair
        )

    return run


@pytest.fixture
def leaving_nothing(alone: Services, user: str) -> Iterator[None]:
    """Takes what stays different out of the tiers, which others compare as a whole."""
    yield
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM messages WHERE user_id = :u"), {"u": user})
        connection.execute(text("DELETE FROM dead_letters"))
    with alone.tiers.job_clickhouse.engine.begin() as connection:
        connection.exec_driver_sql(
            f"ALTER TABLE messages DELETE WHERE user_id = '{user}' SETTINGS mutations_sync = 2"
        )


@pytest.fixture
def no_merges(alone: Services) -> Iterator[None]:
    """Keeps ClickHouse from taking doubles away before a test has counted them."""
    clickhouse_post(alone.tiers.job_clickhouse, "SYSTEM STOP MERGES messages")
    yield
    clickhouse_post(alone.tiers.job_clickhouse, "SYSTEM START MERGES messages")
