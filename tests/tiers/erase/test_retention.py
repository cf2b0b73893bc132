"""What has had its time goes, what is on hold stays, and each run says what it did."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import text

from jobs.audit import SYSTEM
from jobs.erase.retention import RetentionRun
from jobs.persist.drain import Drained
from models import ids
from models.message import Message
from storage.availability.checks.finding import Finding
from storage.availability.checks.postgres import check_postgres
from storage.errors import ErasureUnderWay, NotFound, OnHold
from storage.postgres import retention_status
from support.calls.erasing import erase, marker_of, persisted
from support.data.everywhere import places
from support.data.letters import listed
from support.data.moving import archived
from support.data.samples import message, revised
from support.faults.outages import process
from wiring.process import Services

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def no_policies(alone: Services) -> Iterator[None]:
    """Policies hold for everyone's runs, so each test begins and ends without any."""
    yield
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM retention_policies"))


def aged(user: str, days: float, thread: str = "t") -> Message:
    moment = datetime.now(UTC) - days * DAY
    return message(user, thread, content=marker_of(user), time_us=ids.time_us(moment))


@pytest.fixture
def history(alone: Services, user: str, write: Callable[..., int]) -> list[Message]:
    """Messages that are 40, 20 and 2 days old, in PostgreSQL and ClickHouse."""
    made = [aged(user, days) for days in (40, 20, 2)]
    write(*made)
    alone.jobs.replication.ship_all()
    return made


def count_of(alone: Services, user: str, thread: str = "t") -> int:
    return alone.threads.get(user, thread).message_count


CASES = {
    "older than the user's days": ([("", 30, False)], [1, 2]),
    "two of three": ([("", 10, False)], [2]),
    "a thread's own days come first": ([("", 1, False), ("t", 30, False)], [1, 2]),
    "a thread's own alone": ([("t", 10, False)], [2]),
    "another thread's": ([("u", 10, False)], [0, 1, 2]),
    "none is old enough": ([("", 60, False)], [0, 1, 2]),
    "the user is on hold": ([("", 10, True)], [0, 1, 2]),
    "the thread is on hold": ([("", 10, False), ("t", None, True)], [0, 1, 2]),
    "on hold beats the thread's own days": ([("", None, True), ("t", 10, False)], [0, 1, 2]),
    "a hold on another thread": ([("", 10, False), ("u", None, True)], [2]),
}


@pytest.mark.parametrize("policies, kept", CASES.values(), ids=CASES)
def test_what_is_kept(
    alone: Services,
    user: str,
    history: list[Message],
    policies: list[tuple[str, int | None, bool]],
    kept: list[int],
) -> None:
    for thread, days, hold in policies:
        alone.jobs.retention_policies.set(
            user, thread or None, keep_days=days, legal_hold=hold, by="an admin"
        )
    run = alone.jobs.retention.apply()
    gone = len(history) - len(kept)
    assert (run.due, run.erased, run.left) == (gone, gone, 0)
    alone.failover.redis_recovery.reconcile()
    assert listed(alone, user) == [history[at].id for at in kept]
    assert count_of(alone, user) == len(kept)
    assert alone.jobs.retention.apply().due == 0


def test_what_is_archived_goes_too(
    alone: Services, user: str, history: list[Message], bad: ExitStack
) -> None:
    bad.enter_context(archived(alone, [msgspec.to_builtins(one) for one in history[:2]]))
    # A reader has brought it into Redis.
    assert len(listed(alone, user)) == 3
    alone.jobs.retention_policies.set(user, None, keep_days=10, by="an admin")
    run = alone.jobs.retention.apply()
    assert (run.due, run.erased, run.left) == (2, 2, 0)
    assert alone.jobs.retention.apply().due == 0
    alone.failover.redis_recovery.reconcile()
    alone.jobs.replication.ship_all()
    assert listed(alone, user) == [history[2].id]
    assert count_of(alone, user) == 1


def test_each_run_is_in_the_trail_also_where_nothing_is_due(alone: Services, user: str) -> None:
    before = alone.jobs.audit.entries(action="retention.applied", limit=1)
    assert alone.jobs.retention.apply() == RetentionRun()
    assert alone.jobs.audit.entries(action="retention.applied", limit=1) == before
    alone.jobs.retention_policies.set(user, None, keep_days=10, by="an admin")
    alone.jobs.retention.apply()
    (entry,) = alone.jobs.audit.entries(action="retention.applied", limit=1)
    assert entry.actor == SYSTEM
    counts = {"policies": 1, "on_hold": 0, "due": 0, "erased": 0, "left": 0}
    assert entry.counts == counts


def test_a_run_without_clickhouse_says_that_it_did_not_look_everywhere(
    alone: Services, user: str, history: list[Message], bad: ExitStack
) -> None:
    bad.enter_context(archived(alone, [msgspec.to_builtins(history[0])]))
    alone.jobs.retention_policies.set(user, None, keep_days=10, by="an admin")
    nowhere = "clickhouse+http://default:@127.0.0.1:1/threadkeep"
    without = process(alone, clickhouse_url=nowhere)
    assert "clickhouse" in without.jobs.retention.apply().incomplete
    (entry,) = alone.jobs.audit.entries(action="retention.applied", limit=1)
    assert "clickhouse" in entry.details["incomplete"]
    assert alone.jobs.retention.apply().left == 0


def test_the_doctor_and_health_know_when_it_last_ran(
    alone: Services, user: str, history: list[Message]
) -> None:
    def findings() -> list[Finding]:
        found = check_postgres(alone.tiers.job_engine, alone.settings.partition_weeks_ahead)
        return [one for one in found if one.check == "retention"]

    assert [one.ok for one in findings()] == [True]
    alone.jobs.retention_policies.set(user, None, keep_days=10, by="an admin")
    alone.jobs.retention.apply()
    assert [one.ok for one in findings()] == [True]
    state = alone.performance.health().tiers["postgresql"].retention
    assert state is not None
    assert (state.policies, state.due, state.erased, state.left) == (1, 2, 2, 0)
    # A run that left something, or that never came.
    counts = {"policies": 1, "due": 2, "erased": 1, "left": 1}
    alone.jobs.audit.note(SYSTEM, "retention.applied", "retention", counts)
    assert [one.ok for one in findings()] == [False]
    alone.jobs.retention.apply()
    later = datetime.now(UTC) + timedelta(hours=37)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention_status, "OVERDUE", datetime.now(UTC) - later)
        assert [one.ok for one in findings()] == [False]


def test_policies_are_set_listed_and_cleared(alone: Services, user: str) -> None:
    service = alone.jobs.retention_policies
    first = service.set(user, None, keep_days=30, by="an admin")
    assert first is not None
    held = service.set(user, None, legal_hold=True, by="another")
    assert held is not None
    assert (held.keep_days, held.legal_hold, held.set_by) == (30, True, "another")
    service.set(user, "t", keep_days=5, by="an admin")
    shown, cursor = service.list(limit=1, cursor=None)
    assert (list(shown), cursor) == ([held], (user, ""))
    rest, cursor = service.list(limit=5, cursor=cursor)
    assert ([one.thread_id for one in rest], cursor) == (["t"], None)
    assert service.set(user, "t", keep_days=None, by="an admin") is None
    assert service.clear(user, None, by="an admin") == held
    with pytest.raises(NotFound):
        service.clear(user, None, by="an admin")
    acts = [entry.action for entry in alone.jobs.audit.entries(limit=5)]
    assert acts == ["retention.cleared"] * 2 + ["retention.set"] * 3


@pytest.mark.parametrize("thread", [None, "t"])
def test_a_user_on_hold_is_not_erased(
    alone: Services, user: str, drain: Callable[[], Drained], thread: str | None
) -> None:
    made = persisted(alone, drain, user, 1)
    alone.jobs.retention_policies.set(user, thread, legal_hold=True, by="an admin")
    with pytest.raises(OnHold):
        alone.jobs.user_erasure.request(user, by="an admin")
    assert listed(alone, user) == [made[0].id]
    alone.jobs.retention_policies.clear(user, thread, by="an admin")
    assert erase(alone, user).state == "done"


def test_a_hold_comes_too_late_for_who_is_being_erased(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    persisted(alone, drain, user, 1)
    alone.jobs.user_erasure.request(user, by="an admin")
    with pytest.raises(ErasureUnderWay):
        alone.jobs.retention_policies.set(user, None, legal_hold=True, by="an admin")
    alone.jobs.user_erasure.carry_on(user)


def test_what_is_deleted_under_a_hold_is_hidden_and_kept_until_the_hold_is_lifted(
    alone: Services, user: str, drain: Callable[[], Drained], write: Callable[..., int]
) -> None:
    # What other tests deleted is none of its business.
    alone.jobs.erasure.erase_deleted_threads()
    one, edited, in_one_batch = persisted(alone, drain, user, 3)
    alone.jobs.retention_policies.set(user, None, legal_hold=True, by="an admin")
    write(revised(one, deleted=True))
    write(revised(edited))
    write(revised(in_one_batch), revised(in_one_batch, version=3, deleted=True))
    alone.jobs.replication.ship_all()
    alone.tiers.redis_repair.evict([one.id, edited.id, in_one_batch.id])
    assert listed(alone, user) == [edited.id]
    held = text(
        "SELECT id::text, version, content FROM held_versions WHERE user_id = :user"
        " ORDER BY id, version"
    )
    with alone.tiers.job_engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(held, {"user": user})]
    assert found == [
        (one.id, 1, marker_of(user)),
        (edited.id, 1, marker_of(user)),
        (in_one_batch.id, 1, marker_of(user)),
        (in_one_batch.id, 2, "version 2"),
    ]
    alone.threads.delete(user, "t")
    drain()
    assert alone.jobs.erasure.erase_deleted_threads() == 0
    alone.jobs.retention_policies.set(user, None, legal_hold=False, by="an admin")
    assert alone.jobs.erasure.erase_deleted_threads() == 1
    alone.jobs.replication.ship_all()
    alone.jobs.physical_erasure.purge()
    assert places(alone, marker_of(user)) == set()


def test_what_is_archived_is_kept_under_a_hold_too(
    alone: Services, user: str, drain: Callable[[], Drained], bad: ExitStack
) -> None:
    one, other = persisted(alone, drain, user, 2)
    bad.enter_context(archived(alone, [msgspec.to_builtins(each) for each in (one, other)]))
    alone.jobs.retention_policies.set(user, None, legal_hold=True, by="an admin")
    alone.messages.delete(user, one.id, if_version=None)
    drain()
    alone.jobs.replication.ship_all()
    held = text("SELECT id::text, version, content FROM held_versions WHERE user_id = :user")
    with alone.tiers.job_engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(held, {"user": user})]
    assert found == [(one.id, 1, marker_of(user))]
    alone.jobs.retention_policies.clear(user, None, by="an admin")
    with alone.tiers.job_engine.connect() as connection:
        assert connection.execute(held, {"user": user}).all() == []
