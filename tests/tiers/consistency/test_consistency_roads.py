"""What a check says of what is on its way and of what nobody can mend, of whom, and how often."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from jobs.consistency.judge import confirmation
from jobs.consistency.report import EVERYTHING, ConsistencyReport, Difference, Scope
from jobs.consistency.reports import CheckRunning
from models import codec
from storage.redis import keys
from support.checking import named, three
from support.data.samples import append_of, message, revised
from support.faults import damage
from wiring.process import Services


@pytest.mark.usefixtures("leaving_nothing")
def test_what_no_tier_has_right_is_named_and_kept(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = three(alone, user)[1]
    damage.in_postgres(alone, "content = 'x'", one)
    damage.in_clickhouse(alone, "DELETE", one)
    damage.drop_from_redis(alone, one)
    for repair in (False, True, False):
        report = check(repair=repair)
        assert named(report) == {(one.id, "damaged_in_postgresql", "unrepairable")}
        assert report.remaining == 1
    kept = damage.everywhere(alone, one)["postgresql"]
    assert kept is not None
    assert kept.content == "x"


def test_what_waits_in_the_outbox_is_no_difference(
    alone: Services,
    user: str,
    check: Callable[..., ConsistencyReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = three(alone, user)[0]
    monkeypatch.setattr(confirmation, "SETTLE_SECONDS", 0.5)
    with alone.tiers.job_engine.connect() as other:
        # Another process ships, and takes its time.
        other.execute(text("SELECT pg_advisory_xact_lock(hashtext('threadkeep:ship'))"))
        alone.failover.writes.revise(one, lambda version: revised(one))
        assert check().differences == []
        there = damage.everywhere(alone, one)
        assert there["postgresql"] == revised(one)
        assert there["clickhouse"] == one
        other.rollback()
    assert check().differences == []
    assert damage.everywhere(alone, one)["clickhouse"] == revised(one)


def test_what_only_the_log_has_is_no_difference(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = three(alone, user)[0]
    alone.tiers.redis.append([append_of(message(user))], 60)
    alone.failover.writes.revise(one, lambda version: revised(one))
    assert check().differences == []


def test_a_pending_copy_that_may_be_evicted_is_named(alone: Services, user: str) -> None:
    one = message(user)
    alone.tiers.redis.append([append_of(one)], 60)
    name = keys.message(alone.tiers.redis.slot_of_message(one.id), one.id)
    alone.tiers.redis_client.expire(name, 60)
    found = alone.jobs.consistency_checker.check(Scope(user_id=user), actor="test", repair=True)
    assert named(found) == {(one.id, "evictable_in_redis", "repaired")}
    assert alone.jobs.consistency_checker.check(Scope(user_id=user), actor="test").differences == []


@pytest.mark.usefixtures("leaving_nothing")
def test_a_copy_that_was_refused_stays_as_it_is(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = message(user)
    damage.put_into_redis(alone, one, seconds=None)
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO dead_letters (shard, entry_id, kind, record, reason)"
                " VALUES (0, :entry, 'message', :record, 'a test')"
            ),
            {"entry": one.id, "record": codec.encode(one)},
        )
    assert check(repair=True).differences == []
    assert damage.everywhere(alone, one)["redis"] == one


@pytest.mark.usefixtures("leaving_nothing")
def test_a_check_of_one_user_names_nothing_of_another(alone: Services, user: str) -> None:
    one = three(alone, user)[0]
    damage.in_postgres(alone, "content = 'x'", one)
    other = alone.jobs.consistency_checker.check(Scope(user_id="nobody"), actor="test")
    assert (other.compared, other.differences) == (0, [])
    own = alone.jobs.consistency_checker.check(Scope(user_id=user, thread_id="t"), actor="test")
    assert [found.id for found in own.differences] == [one.id]
    assert (
        alone.jobs.consistency_checker.check(
            Scope(user_id=user, thread_id="u"), actor="test"
        ).differences
        == []
    )


def test_two_checks_do_not_run_at_once(alone: Services) -> None:
    checker = alone.jobs.consistency_checker
    opened = checker.reports.open(EVERYTHING, "test", repair=False)
    with checker.reports.alone():
        with pytest.raises(CheckRunning):
            checker.check(actor="test")
        with pytest.raises(CheckRunning):
            checker.run(opened)
    assert checker.reports.get(opened.id).state == "failed"


def test_a_repair_stands_in_the_audit_trail(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    one = three(alone, user)[0]
    damage.in_clickhouse(alone, "DELETE", one)
    report = check(repair=True)
    (entry,) = alone.jobs.audit.entries(action="consistency.repair", limit=1)
    assert (entry.actor, entry.subject) == ("test", f"consistency:{user}/*")
    assert entry.counts == {"repaired:missing_in_clickhouse": 1}
    assert entry.details == {
        "report": report.id,
        "ids": {"repaired:missing_in_clickhouse": [one.id]},
    }
    kept = alone.jobs.consistency_checker.reports.last()
    assert (
        kept.differences
        == report.differences
        == [
            Difference(
                pair="postgresql-clickhouse",
                tier="clickhouse",
                kind="missing",
                id=one.id,
                user_id=user,
                thread_id="t",
                found="version 1 in postgresql, none in clickhouse, right is 1",
                outcome="repaired",
            )
        ]
    )
