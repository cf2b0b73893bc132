"""PostgreSQL and Redis come back from ClickHouse alone, and ClickHouse from PostgreSQL."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import Row, text

from jobs.recover.disaster import LOCKS, AlreadyRecovering
from jobs.recover.runs import RecoveryRun
from storage.errors import TierUnavailable
from storage.postgres.locks import session_lock
from storage.resilience import faultpoints
from support.calls import disasters
from support.calls.disasters import carry_on, exported, live_a_little, post, rows, settle
from support.calls.erasing import erase
from support.data.archives import PARTITION, archive, old, unit, write
from support.data.users import fresh_user
from support.stack.servers import servers
from support.stack.tiers import tiers
from wiring.process import Services


@pytest.fixture(scope="module")
def doomed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Servers that nobody else uses: two users with threads of the same names, carried on."""
    with servers(tmp_path_factory.mktemp("doomed") / "data") as env, tiers(env) as own:
        disasters.begin_anew(own)
        live_a_little(own, "ann", "bob")
        own.jobs.audit.note("ann", "thing.made", "thing:1", {"n": 1})
        yield own


@pytest.fixture
def world(doomed: Services) -> Services:
    """The same, as the test before left it: whole, and everything carried on."""
    faultpoints.enable(doomed.settings)
    settle(doomed)
    carry_on(doomed)
    return doomed


def recovered(own: Services, source: str = "clickhouse") -> RecoveryRun:
    run = own.jobs.disaster_recovery.request(source, "an operator")  # type: ignore[arg-type]
    done = own.jobs.disaster_recovery.go_on()
    settle(own)
    assert done is not None
    assert done.id == run.id
    assert done.state == "complete", done.error
    return done


def test_everything_comes_back_from_clickhouse_alone(world: Services) -> None:
    before, export = rows(world), exported(world)
    assert len(export.splitlines()) == 2 * 43
    disasters.lose_postgresql(world)
    disasters.lose_redis(world)
    done = recovered(world)
    assert exported(world) == export
    assert rows(world) == before
    assert done.counts["loaded_again"] == 0
    assert world.jobs.disaster_recovery.status().recovery_complete


def test_killed_at_any_step_it_goes_on(world: Services) -> None:
    before, export = rows(world), exported(world)
    disasters.lose_postgresql(world)
    disasters.lose_redis(world)
    run = world.jobs.disaster_recovery.request("clickhouse", "an operator")
    for point in ("recovery.opened:1", "recovery.after_page:1", "recovery.finished:1"):
        struck = _striking(world, f"{point}:raise")
        with pytest.raises(TierUnavailable, match="a drill at"):
            struck.jobs.disaster_recovery.go_on()
        settle(world)
        # Whoever reads meanwhile misses nothing.
        assert exported(world) == export
        assert not world.jobs.disaster_recovery.status().recovery_complete
    faultpoints.enable(world.settings)
    done = world.jobs.disaster_recovery.go_on()
    assert done is not None
    assert (done.id, done.state) == (run.id, "complete")
    assert rows(world) == before
    assert exported(world) == export
    assert world.jobs.disaster_recovery.go_on() is None


def test_what_is_written_meanwhile_stays(world: Services) -> None:
    threads = len(rows(world)["threads"])
    disasters.lose_postgresql(world)
    disasters.lose_redis(world)
    run = world.jobs.disaster_recovery.request("clickhouse", "an operator")
    struck = _striking(world, "recovery.opened:1:raise")
    with pytest.raises(TierUnavailable):
        struck.jobs.disaster_recovery.go_on()
    faultpoints.enable(world.settings)
    settle(world)
    # Nothing is loaded yet, and everything can be read, changed and posted to.
    page = world.failover.retrieval.page("ann", "edited", limit=9, cursor=None, order="asc")
    assert [one.content for one in page.messages] == ["one, edited", "three"]
    edited, threads_of_ann = page.messages[1], world.threads.get("ann", "titled").message_count
    world.messages.edit("ann", edited.id, content="three, too", metadata=None, if_version=None)
    world.messages.delete("ann", page.messages[0].id, if_version=None)
    world.threads.change("ann", "titled", title="the best title", metadata={})
    world.threads.delete("bob", "titled")
    post(world, "ann", "edited", "meanwhile")
    post(world, "ann", "new", "meanwhile")
    world.jobs.persistence.drain_all(range(world.settings.shards))
    done = world.jobs.disaster_recovery.go_on()
    assert done is not None
    assert done.id == run.id
    carry_on(world)
    page = world.failover.retrieval.page("ann", "edited", limit=9, cursor=None, order="asc")
    assert [one.content for one in page.messages] == ["three, too", "meanwhile"]
    found = {(row[0], row[1]): row for row in rows(world)["threads"]}
    assert len(found) == threads + 1
    titled, gone = (world.threads.get("ann", "titled"), found["bob", "titled"])
    assert (titled.title, titled.message_count) == ("the best title", threads_of_ann)
    assert world.threads.get("ann", "edited").message_count == 2
    assert world.threads.get("ann", "new").message_count == 1
    assert world.threads.get("bob", "edited").message_count == 2
    assert gone.message_count == 0


def test_what_only_a_redis_that_survived_has_comes_back_too(world: Services) -> None:
    (late,) = post(world, "ann", "titled", "committed, and not in ClickHouse yet")
    world.threads.change("ann", "titled", title="likewise", metadata={})
    world.jobs.persistence.drain_all(range(world.settings.shards))
    (pending,) = post(world, "ann", "titled", "not even committed")
    disasters.lose_postgresql(world)
    done = recovered(world)
    assert done.counts["hot_copies"] > 0
    carry_on(world)
    assert world.threads.get("ann", "titled").title == "likewise"
    assert world.threads.get("ann", "titled").message_count == 42
    page = world.failover.retrieval.page("ann", "titled", limit=2, cursor=None, order="desc")
    assert [one.id for one in page.messages] == [pending, late]
    assert world.failover.loss_audit.lost() == []


def test_redis_is_believed_and_warm_afterwards(
    world: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No busy machine has the lease lapse between the two questions.
    monkeypatch.setattr("storage.availability.lease.LEASE_SECONDS", 5.0)
    disasters.lose_postgresql(world)
    disasters.lose_redis(world)
    recovered(world)
    own = Services(world.settings)
    assert own.failover.lease.current().redis_complete
    page = own.failover.retrieval.page("ann", "titled", limit=40, cursor=None, order="desc")
    assert (len(page.messages), page.source) == (40, "redis")


def test_clickhouse_comes_back_from_postgresql(world: Services) -> None:
    before = _in_clickhouse(world)
    disasters.lose_clickhouse(world)
    done = recovered(world, "postgresql")
    assert done.counts["messages"] == len(rows(world)["messages"])
    assert _in_clickhouse(world) == before
    # And is good enough to come back from.
    then, export = rows(world), exported(world)
    disasters.lose_postgresql(world)
    disasters.lose_redis(world)
    recovered(world)
    assert rows(world) == then
    assert exported(world) == export


def test_what_was_archived_stays_in_clickhouse_alone(world: Services) -> None:
    before, export = rows(world), exported(world)
    archived = [row for row in before["messages"] if row.user_id == "ann"]
    boundary = max(row.id for row in before["messages"])
    with world.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM messages WHERE id < :below"), {"below": boundary})
        connection.execute(text("UPDATE archive_boundary SET below = :below"), {"below": boundary})
    carry_on(world)
    assert exported(world) == export
    left = rows(world)
    disasters.lose_postgresql(world)
    disasters.lose_redis(world)
    recovered(world)
    assert archived
    assert rows(world) == left
    assert exported(world) == export


def test_an_archive_goes_on_after_its_postgresql_was_lost(world: Services) -> None:
    user = fresh_user()
    write(world, [old(user, day=day) for day in range(10)])
    assert archive(world, grace=3600).detached == 2
    carry_on(world)
    export = exported(world)
    disasters.lose_postgresql(world)
    disasters.lose_redis(world)
    recovered(world)
    assert exported(world) == export
    # The tables that were in their grace went with their server; ClickHouse has all of them.
    assert archive(world, grace=3600).stopped == 0
    assert unit(world)["state"] == "dropped"
    assert exported(world) == export
    assert world.jobs.consistency_checker.check(actor="test").differing == 0
    erase(world, user)


def test_what_is_changed_after_a_loss_is_archived_anew(world: Services) -> None:
    user = fresh_user()
    weeks = [old(user, day=day) for day in range(21)]
    write(world, weeks)
    assert archive(world, grace=3600).detached == 3
    # Others were too busy with the first one, and it was never detached.
    with world.tiers.job_engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE archive_units SET state = 'planned', detached_at = NULL"
                " WHERE name = :name AND state = 'detached'"
            ),
            {"name": PARTITION},
        )
    carry_on(world)
    disasters.lose_postgresql(world)
    disasters.lose_redis(world)
    recovered(world)
    # Of this one's week there is a partition again, of the name that was in its grace.
    changed = weeks[10]
    world.messages.edit(user, changed.id, content="changed since", metadata=None, if_version=None)
    carry_on(world)
    export = exported(world)
    done = archive(world)
    assert (done.stopped, done.dropped) == (0, 1)
    assert exported(world) == export
    assert {row.state for row in _units(world)} == {"dropped"}
    assert world.jobs.consistency_checker.check(actor="test").differing == 0
    erase(world, user)


def test_one_recovery_at_a_time(world: Services) -> None:
    world.jobs.disaster_recovery.request("clickhouse", "an operator")
    with pytest.raises(AlreadyRecovering):
        world.jobs.disaster_recovery.request("postgresql", "somebody else")
    other = Services(world.settings)
    with session_lock(other.tiers.job_engine, *LOCKS) as connection:
        assert connection is not None
        assert world.jobs.disaster_recovery.go_on() is None
    done = world.jobs.disaster_recovery.go_on()
    assert done is not None
    assert done.state == "complete"


def test_the_status_is_told_while_postgresql_is_not_there(world: Services) -> None:
    disasters.lose_postgresql(world)
    run = world.jobs.disaster_recovery.request("clickhouse", "an operator", 12.5)
    status = world.jobs.disaster_recovery.status()
    assert (status.id, status.state, status.recovery_complete) == (run.id, "requested", False)
    assert (status.target_rto_seconds, status.within_target) == (12.5, True)
    done = world.jobs.disaster_recovery.go_on()
    assert done is not None
    status = world.jobs.disaster_recovery.status()
    assert (status.state, status.progress, status.eta_seconds) == ("complete", 1.0, 0.0)
    for action in ("recovery.begun", "recovery.completed"):
        (entry,) = world.jobs.audit.entries(action=action, limit=1)
        assert (entry.actor, entry.subject) == ("an operator", f"run:{run.id}")


def test_a_new_postgresql_beside_a_clickhouse_that_knows_another_is_noticed(
    world: Services,
) -> None:
    before, export = rows(world), exported(world)
    assert not world.jobs.disaster_recovery.is_lost()
    disasters.lose_postgresql(world)
    assert world.jobs.disaster_recovery.is_lost()
    world.jobs.disaster_recovery.open()
    settle(world)
    # It answers rightly at once, and whoever looks next does the rest.
    assert exported(world) == export
    assert not world.jobs.disaster_recovery.is_lost()
    done = world.jobs.disaster_recovery.go_on()
    assert done is not None
    assert done.state == "complete"
    assert rows(world) == before
    disasters.lose_clickhouse(world)
    disasters.lose_postgresql(world)
    assert not world.jobs.disaster_recovery.is_lost()


def _units(world: Services) -> Sequence[Row[Any]]:
    with world.tiers.job_engine.connect() as connection:
        return connection.execute(text("SELECT state FROM archive_units")).all()


def _striking(world: Services, strikes: str) -> Services:
    return Services(msgspec.structs.replace(world.settings, drills=True, faultpoints=strikes))


def _in_clickhouse(world: Services) -> list[tuple[object, ...]]:
    query = (
        "SELECT toString(id), version, content, metadata, toString(created_at), is_deleted"
        " FROM messages ORDER BY id, version DESC LIMIT 1 BY id"
    )
    with world.tiers.job_clickhouse.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]
