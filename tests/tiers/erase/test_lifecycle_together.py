"""Archive, erasure, checks and recoveries know of each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from jobs.consistency.report import ConsistencyReport
from jobs.consistency.reports import CheckRunning
from jobs.persist.drain import Drained
from models import ids
from models.message import Thread
from storage.errors import Refused
from support.calls.erasing import erase, finish, marker_of, persisted
from support.data.archives import (
    PARTITION,
    archive,
    execute,
    lose_from_clickhouse,
    old,
    unit,
    write,
)
from support.data.everywhere import in_clickhouse, places
from support.data.users import fresh_user
from support.faults import damage
from wiring.process import Services


def kinds(report: ConsistencyReport) -> dict[str, int]:
    counts: dict[str, int] = {}
    for pair in report.pairs.values():
        counts |= pair.kinds
    return counts


@contextmanager
def recovering(services: Services) -> Iterator[None]:
    """A recovery that nobody has finished."""
    run = ids.mint(services.tiers.clock.now_us(), 0)
    execute(
        services,
        "INSERT INTO recovery_runs (id, source, actor, boundary)"
        " VALUES (:id, 'clickhouse', 'x', :b)",
        id=run,
        b=ids.LOWEST,
    )
    try:
        yield
    finally:
        execute(services, "DELETE FROM recovery_runs WHERE id = :id", id=run)


def test_a_check_notices_what_clickhouse_has_lost_of_the_archive(
    store: Services, user: str
) -> None:
    made = [old(user, day=number / 10) for number in range(60)]
    write(store, made)
    archive(store)
    assert store.jobs.consistency_checker.check(actor="test").differing == 0
    lose_from_clickhouse(store, *made[:3])
    report = store.jobs.consistency_checker.check(actor="test", repair=True)
    # The thread's figures are put right, what they told of is not to be had.
    assert kinds(report).keys() == {"lost_in_clickhouse", "miscounted_in_postgresql"}
    outcomes = {one.kind: one.outcome for one in report.differences}
    assert outcomes == {"lost": "unrepairable", "miscounted": "repaired"}
    assert report.data_consistency_score is not None
    assert report.data_consistency_score < 100


def test_what_is_erased_was_not_lost(store: Services, user: str) -> None:
    other = fresh_user()
    write(store, [old(one, day=number / 10) for number in range(30) for one in (user, other)])
    archive(store)
    erase(store, user)
    assert store.jobs.consistency_checker.check(actor="test").differing == 0
    # Also what went with its thread.
    write(store, [old(other, day=1, thread="u")])
    archive(store)
    store.threads.delete(other, "u")
    store.jobs.persistence.drain_backlog()
    store.jobs.erasure.erase_deleted_threads()
    store.jobs.replication.ship_all()
    store.jobs.physical_erasure.purge()
    assert store.jobs.consistency_checker.check(actor="test").differing == 0
    assert (
        len(list(store.failover.retrieval.page(other, "t", limit=50, cursor=None, order="asc")[0]))
        == 30
    )


def test_what_comes_back_of_an_erased_user_is_named_and_erased_again(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    check: Callable[..., ConsistencyReport],
) -> None:
    made = persisted(alone, drain, user, 3)
    erase(alone, user)
    assert check().differing == 0
    # A copy of a part of before, as a restored disk would bring it.
    damage.put_into_clickhouse(alone, made[0])
    report = check()
    assert kinds(report) == {"resurrected_in_clickhouse": 1}
    assert kinds(check(repair=True)) == {"resurrected_in_clickhouse": 1}
    assert finish(alone, user).state == "done"
    assert places(alone, marker_of(user)) == set()
    assert check().differing == 0


def test_copies_of_rows_leave_clickhouse_with_their_user(
    alone: Services, user: str, write_thread: Callable[[Thread], None]
) -> None:
    moment = "2026-01-02T03:04:05.000006Z"
    for version, title in ((1, f"one {marker_of(user)}"), (2, f"two {marker_of(user)}")):
        write_thread(
            Thread(
                version=version,
                id="t",
                user_id=user,
                title=title,
                metadata={},
                created_at=moment,
                updated_at=moment,
            )
        )
        alone.jobs.row_copies.ship()
    assert set(in_clickhouse(alone, marker_of(user))) == {"row_copies.row"}
    receipt = erase(alone, user)
    assert receipt.removed["clickhouse"]["row_copies"] >= 1
    assert places(alone, marker_of(user)) == set()
    with alone.tiers.job_clickhouse.engine.connect() as connection:
        kept = connection.exec_driver_sql(
            "SELECT DISTINCT table_name FROM row_copies"
            f" WHERE JSONExtractString(row, 'user_id') = '{user}'"
        )
        assert set(kept.scalars()) <= {"user_erasures"}


def test_nothing_is_archived_or_checked_before_a_recovery_is_over(
    store: Services, user: str
) -> None:
    write(store, [old(user)])
    with recovering(store):
        with pytest.raises(Refused, match="recovery"):
            archive(store)
        with pytest.raises(CheckRunning, match="recovery"):
            store.jobs.consistency_checker.check(actor="test")
    assert archive(store).dropped == 1


def test_a_detached_table_that_was_lost_with_its_server_is_done_with(
    store: Services, user: str
) -> None:
    write(store, [old(user)])
    assert archive(store, grace=3600).detached == 1
    with store.tiers.migrate_engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {PARTITION}"))
    assert archive(store, grace=3600).stopped == 0
    assert unit(store)["state"] == "dropped"
