"""Is the log moved on? Told from the log itself, and never made up where it cannot be seen."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.persist.drain import BackgroundPersistenceService
from storage.availability.progress import Progress
from storage.postgres import locks
from storage.redis import keys
from support.faults.outages import NOWHERE, post, process
from support.waiting import eventually
from wiring.process import Services

SOON = 2.0
"""Seconds without progress."""


@pytest.fixture
def judge(alone: Services, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Progress]:
    """Judges as another process, for which some settings may be different."""
    monkeypatch.setattr("storage.availability.progress.JUDGED_SECONDS", 0)
    monkeypatch.setattr("storage.redis.pending_log.POLL_RECORD_SECONDS", 0)
    known: dict[str, Services] = {}

    def as_another(**changes: Any) -> Progress:
        name = ",".join(changes)
        if name not in known:
            known[name] = process(alone, no_progress_seconds=SOON, **changes)
        return known[name].progress.judge()

    return as_another


def worker(alone: Services) -> BackgroundPersistenceService:
    """What a worker looks with."""
    return process(alone).jobs.persistence


def test_a_worker_that_looks_is_progress(alone: Services, judge: Callable[..., Progress]) -> None:
    look = worker(alone).drain_backlog

    def idle() -> bool:
        look()
        return alone.tiers.pending_log.status().polled_seconds is not None and judge().is_ok

    eventually(idle)
    assert judge() == Progress(True, "the log is empty")


def test_nobody_who_looks_is_none(
    alone: Services, user: str, judge: Callable[..., Progress]
) -> None:
    """With traffic and without."""
    assert judge().is_ok
    eventually(lambda: not judge().is_ok)
    assert judge().detail.startswith("no worker has looked at the log for")
    worker(alone).drain_backlog()
    assert judge().is_ok
    post(alone, user)
    assert judge().is_ok
    eventually(lambda: not judge().is_ok)


def test_an_entry_that_stays_is_none_though_workers_look(
    alone: Services, user: str, judge: Callable[..., Progress]
) -> None:
    """Somebody holds every slot, and does not move."""
    post(alone, user)
    drains = worker(alone)
    with alone.tiers.job_engine.begin() as rival:
        slots = range(alone.settings.shards)
        assert locks.try_lock_slots(rival, slots) == list(slots)

        def stands_still() -> bool:
            drains.drain_backlog()
            return not judge().is_ok

        eventually(stands_still)
        assert judge().detail.startswith("the oldest entry has been in the log for")
    drains.drain_backlog()
    assert judge().is_ok


def test_a_log_that_moves_is_progress_however_old_it_is(
    alone: Services, user: str, judge: Callable[..., Progress]
) -> None:
    for _ in range(3):
        post(alone, user)
    eventually(lambda: alone.tiers.pending_log.status().oldest_seconds > SOON)
    drains = process(alone, drain_batch_messages=1).jobs.persistence
    for _ in range(3):
        assert judge().detail.startswith("the oldest entry is")
        assert judge().is_ok
        assert drains.drain(range(alone.settings.shards)).entries == 1
    assert judge() == Progress(True, "the log is empty")


def test_what_cannot_be_seen_is_not_made_up(
    alone: Services, judge: Callable[..., Progress]
) -> None:
    found = judge(redis_url=NOWHERE["redis_url"])
    assert found.is_ok
    assert found.detail.startswith("not known while Redis is out")


def test_a_log_that_waits_for_postgresql_is_no_fault_of_the_workers(
    alone: Services, user: str, judge: Callable[..., Progress]
) -> None:
    post(alone, user)
    drains = process(alone, database_url=NOWHERE["database_url"]).jobs.persistence
    eventually(lambda: alone.tiers.pending_log.status().oldest_seconds > SOON)
    with pytest.raises(Exception, match="postgresql"):
        drains.drain_backlog()
    found = judge(database_url=NOWHERE["database_url"])
    assert found.is_ok
    assert found.detail.startswith("the log waits for PostgreSQL")


def test_a_redis_that_is_new_is_given_time(alone: Services, judge: Callable[..., Progress]) -> None:
    worker(alone).drain_backlog()
    assert judge().is_ok
    alone.tiers.redis_client.delete(keys.LAST_POLL)
    assert judge().is_ok
