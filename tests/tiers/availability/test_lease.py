"""Nobody believes Redis alone while somebody writes beside it."""

import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from jobs.persist.drain import Drained
from models import ids
from storage.availability.bypass import beside_redis
from storage.availability.lease import Completeness, Lease
from storage.messages.posts import Draft
from storage.postgres import writes
from storage.redis import keys
from support.data.samples import append_of, message
from support.faults.outages import believe_keys, end_bypasses
from support.waiting import eventually
from wiring.process import Services

WHOLE = Completeness(redis_complete=True, keys_complete=True, postgres_complete=True)
NOT_REDIS = Completeness(postgres_complete=True)


@pytest.fixture
def fresh(alone: Services) -> Iterator[Callable[[], Completeness]]:
    """What a process that has only just started would be told."""
    end_bypasses(alone)
    believe_keys(alone)
    alone.failover.redis_recovery.reconcile()
    yield lambda: told(Services(alone.settings).failover.lease)


def told(lease: Lease) -> Completeness:
    """What a process is told as soon as it was told anything."""
    return eventually(lambda: found if (found := lease.current()).is_known else None)


def sql(alone: Services, statement: str) -> None:
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text(statement))


def test_all_is_whole_when_nobody_was_out(fresh: Callable[[], Completeness]) -> None:
    assert fresh() == WHOLE


def test_what_redis_was_not_told_yet_ends_it(
    alone: Services, user: str, fresh: Callable[[], Completeness]
) -> None:
    with alone.tiers.job_engine.begin() as connection:
        writes.queue_backfill(connection, [message(user)])
    assert fresh() == NOT_REDIS
    assert alone.failover.redis_recovery.reconcile() == 1
    assert fresh() == WHOLE


def test_somebody_on_a_detour_ends_it_until_the_row_is_old(
    alone: Services, fresh: Callable[[], Completeness]
) -> None:
    beside_redis(alone.tiers.quick_engine, alone.tiers.request_engine).acquire()
    assert fresh() == NOT_REDIS
    sql(alone, "UPDATE redis_detours SET until = clock_timestamp()")
    assert fresh() == WHOLE


def test_who_was_on_a_detour_long_ago_may_be_again(
    alone: Services, fresh: Callable[[], Completeness]
) -> None:
    bypass = beside_redis(alone.tiers.quick_engine, alone.tiers.request_engine)
    bypass.acquire()
    sql(alone, "UPDATE redis_detours SET until = clock_timestamp() - interval '1 hour'")
    bypass.expire()
    bypass.acquire()
    assert fresh() == NOT_REDIS


def test_a_redis_that_was_restarted_is_not_believed_before_it_is_adopted(
    alone: Services, user: str, fresh: Callable[[], Completeness]
) -> None:
    alone.tiers.redis.append([append_of(message(user))], 60)
    sql(alone, "UPDATE redis_state SET run_id = 'the one before'")
    assert fresh() == NOT_REDIS
    assert alone.failover.redis_recovery.adopt()
    assert fresh() == WHOLE
    # It may have lost its last moments, so no list in it is whole until it was read from below.
    assert alone.tiers.redis.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 9).is_distrusted
    assert not alone.failover.redis_recovery.adopt()


def test_an_empty_redis_is_believed_about_messages_but_not_about_keys(
    alone: Services, user: str, fresh: Callable[[], Completeness], drain: Callable[[], Drained]
) -> None:
    alone.messages.post(user, "t", Draft("user", "hello", {}, "k"))
    drain()
    alone.tiers.redis_client.flushall()
    alone.failover.redis_recovery.adopt()
    assert fresh() == WHOLE._replace(keys_complete=False)


def test_a_redis_that_evicts_is_not_believed_about_keys(
    alone: Services, fresh: Callable[[], Completeness]
) -> None:
    client = alone.tiers.redis_client
    before = client.config_get("maxmemory")["maxmemory"]
    client.set("filler", b"x" * 1_000_000, ex=60)
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 500_000)
    try:
        # Room for this is made by evicting the filler, the only key that may be.
        client.set("another", b"y")
        assert fresh() == WHOLE._replace(keys_complete=False)
    finally:
        client.config_set("maxmemory", before)
        client.config_resetstat()
    assert fresh() == WHOLE


def test_what_waits_in_clickhouse_ends_all_belief(
    alone: Services, user: str, fresh: Callable[[], Completeness]
) -> None:
    alone.failover.writes._clickhouse.append([append_of(message(user))])
    assert fresh() == Completeness()
    alone.failover.handoff.replay()
    end_bypasses(alone)
    alone.failover.redis_recovery.reconcile()
    assert fresh() == WHOLE


def test_a_process_that_never_saw_an_outage_is_told_of_what_waits_in_clickhouse(
    alone: Services, user: str, fresh: Callable[[], Completeness]
) -> None:
    other = Services(alone.settings).failover.lease
    assert told(other) == WHOLE
    direct = alone.failover.writes._clickhouse
    direct.append([append_of(message(user))])
    direct.announce()
    eventually(lambda: other.current() == Completeness())
    alone.failover.handoff.replay()
    end_bypasses(alone)
    alone.failover.redis_recovery.reconcile()
    eventually(lambda: other.current() == WHOLE)


def test_without_postgresql_nothing_is_known(alone: Services) -> None:
    nowhere = msgspec.structs.replace(
        alone.settings, database_url="postgresql+psycopg2://u@127.0.0.1:1/d"
    )
    assert not Services(nowhere).failover.lease.current().is_known


def test_a_foreign_redis_is_shut_out(alone: Services, fresh: Callable[[], Completeness]) -> None:
    own = Services(alone.settings)
    assert told(own.failover.lease) == WHOLE
    alone.tiers.redis_client.set(keys.INSTALLATION, "somebody else's")
    eventually(lambda: _shut_out(own))
    alone.tiers.redis_client.delete(keys.INSTALLATION)
    eventually(lambda: own.tiers.breakers.redis.is_closed)
    # The process that all tests share may have seen the mark as well, in a look that has yet to
    # end; the next test begins with a Redis that it believes.
    with alone.failover.lease._renewing:
        pass
    eventually(lambda: alone.tiers.breakers.redis.is_closed)


def _shut_out(own: Services) -> bool:
    own.failover.lease.current()
    return "another installation" in (own.tiers.breakers.redis.state().reason or "")


def test_the_first_write_beside_redis_waits_for_every_lease(
    alone: Services, fresh: Callable[[], Completeness]
) -> None:
    others = [Services(alone.settings).failover.lease for _ in range(3)]
    assert all(told(lease) == WHOLE for lease in others)
    stop = threading.Event()
    believed: list[float] = []

    def ask(lease: Lease) -> None:
        while not stop.is_set():
            asked = time.monotonic()
            if lease.current().redis_complete:
                believed.append(asked)

    threads = [threading.Thread(target=ask, args=(lease,)) for lease in others]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: believed)
        bypass = beside_redis(alone.tiers.quick_engine, alone.tiers.request_engine)
        with capture_logs() as logs:
            bypass.acquire()
            entered = time.monotonic()
            bypass.acquire()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert max(believed) < entered
    # Only the first waits, and says so.
    assert [one["event"] for one in logs].count("writing_beside_redis") == 1


def test_a_reader_asks_again_only_while_somebody_reads(
    alone: Services, fresh: Callable[[], Completeness], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.availability.lease.IDLE_SECONDS", 0.2)
    lease = Services(alone.settings).failover.lease
    assert told(lease) == WHOLE
    assert lease._thread.is_running
    eventually(lambda: not lease._thread.is_running)
    assert told(lease) == WHOLE
