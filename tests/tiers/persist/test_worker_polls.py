"""A worker's polls where nothing happens: they cost next to nothing, and miss nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import event, text

from storage.availability.notices import TIERS
from storage.errors import TierError
from storage.redis import keys
from support.data.pending import committed, drained
from support.faults.outages import NOWHERE, believe_redis, post, process
from support.waiting import eventually
from tasks.poller import begin, jobs
from tasks.waiting import QUICK_TIERS, LogDrain, RecoveryPoll, WaitingWork
from wiring.process import Services

_STATE = text(
    "SELECT run_id, keys_whole_from <= clock_timestamp() AS are_believed FROM redis_state"
)
QUEUES = ("replicate", "ship-audit", "ship-row-copies", "bring-home")


@pytest.fixture(autouse=True)
def _empty_log(alone: Services) -> None:
    eventually(lambda: drained(alone))


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[Thread]:
    """Something that takes its time, in a thread."""
    thread = Thread(target=work)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


def statements(own: Services) -> list[str]:
    """What this process asks PostgreSQL from now on."""
    asked: list[str] = []
    for engine in (own.tiers.request_engine, own.tiers.job_engine):
        event.listen(
            engine, "before_cursor_execute", lambda *given: asked.append(" ".join(given[2].split()))
        )
    return asked


def calls(own: Services, command: str) -> int:
    """How often Redis was given a command by anybody."""
    stats: Any = own.tiers.redis_client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def _state(alone: Services) -> Any:
    with alone.tiers.job_engine.connect() as connection:
        return connection.execute(_STATE).one()


def test_a_new_redis_is_adopted_before_the_first_drain(alone: Services, user: str) -> None:
    believe_redis(alone)
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM idempotency_keys"))
        connection.execute(text("UPDATE redis_state SET run_id = ''"))
    alone.tiers.redis_client.delete(keys.INSTALLATION)
    made = post(process(alone), user, key="first")
    worker, stop = process(alone), Event()
    threads = begin(worker, stop)
    try:
        eventually(lambda: committed(alone, [made.message.id]))
        eventually(lambda: _state(alone).run_id)
        assert _state(alone).are_believed
    finally:
        stop.set()
        worker.tiers.pending_log.end_wait()
        for thread in threads:
            thread.join(10)


def test_an_idle_worker_waits_and_takes_an_entry_at_once(alone: Services, user: str) -> None:
    own = process(alone)
    poll = LogDrain(own)
    poll.drain()
    looked, waited = calls(alone, "xlen"), calls(alone, "xread")
    with meanwhile(poll.drain) as waiting:
        time.sleep(0.7)
        assert waiting.is_alive()
        assert calls(alone, "xlen") == looked
        began = time.monotonic()
        name = post(alone, user).message.id
        waiting.join(5)
        assert time.monotonic() - began < 1
    assert name in committed(alone, [name])
    assert calls(alone, "xread") == waited + 1
    # What comes meanwhile is not waited for.
    post(alone, user)
    poll.drain()
    assert sum(alone.tiers.pending_log.backlog()) == 0


def test_a_wait_ends_after_a_while_and_when_it_is_told(
    alone: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.redis.pending_log.WAIT_SECONDS", 0.2)
    process(alone).tiers.pending_log.wait()
    monkeypatch.setattr("storage.redis.pending_log.WAIT_SECONDS", 60.0)
    log = process(alone).tiers.pending_log
    with meanwhile(log.wait) as waiting:
        time.sleep(0.5)
        assert waiting.is_alive()
        log.end_wait()
        waiting.join(2)
        assert not waiting.is_alive()


def test_a_wait_without_redis_is_over_and_the_drain_says_why(alone: Services) -> None:
    own = process(alone, redis_url=NOWHERE["redis_url"])
    own.tiers.pending_log.wait()
    poll = LogDrain(own)
    poll._was_empty = True
    with pytest.raises(TierError):
        poll.drain()
    assert not poll._was_empty


def test_polls_of_empty_queues_share_one_statement(alone: Services, user: str) -> None:
    own = process(alone)
    polls = [job for job in jobs(own) if job.name in QUEUES]
    for job in polls:
        job.poll()
    time.sleep(own.settings.recovery_look_seconds)
    asked = statements(own)
    for job in polls:
        job.poll()
    assert len(asked) == 1, asked
    post(alone, user)
    own.jobs.persistence.drain_backlog()
    time.sleep(own.settings.recovery_look_seconds)
    for job in polls:
        job.poll()
    assert not alone.jobs.replication.ship().taken
    assert any(statement.startswith("WITH taken") for statement in asked)


def test_clickhouse_is_asked_for_writes_where_it_may_have_some(
    alone: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = process(alone)
    asked: list[float] = []
    waits = WaitingWork(own)
    waits._replay = lambda: asked.append(time.monotonic()) or 0  # type: ignore[func-returns-value]
    waits.bring_home()
    waits.bring_home()
    assert len(asked) == 1
    # Somebody said so.
    note = (
        "INSERT INTO redis_detours (holder, until, said_at, in_clickhouse)"
        " VALUES (gen_random_uuid(), now(), clock_timestamp(), true)"
    )
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text(note))
    try:
        waits._found_at = float("-inf")
        waits.bring_home()
        assert len(asked) == 2
    finally:
        own.failover.handoff.replay()
    # PostgreSQL was silent: those who could not reach it may not have said so yet.
    waits._found_at = waits._failed_at = float("-inf")
    waits.bring_home()
    assert len(asked) == 2
    waits._found_at, reached = float("-inf"), waits._engine
    waits._engine = process(alone, database_url=NOWHERE["database_url"]).tiers.request_engine
    with pytest.raises(TierError):
        waits.bring_home()
    waits._engine = reached
    waits.bring_home()
    assert len(asked) == 3
    # And now and then in any case.
    waits._failed_at = float("-inf")
    monkeypatch.setattr("tasks.waiting.UNASKED_SECONDS", 0.0)
    waits.bring_home()
    assert len(asked) == 4


def test_all_tiers_are_asked_for_recoveries_at_first_and_now_and_then(alone: Services) -> None:
    poll = RecoveryPoll(process(alone))
    asked: list[tuple[str, ...]] = []
    poll._recovery.go_on = lambda tiers: asked.append(tiers)  # type: ignore[method-assign]
    for _ in range(6):
        poll.go_on()
    assert asked == [TIERS, *[QUICK_TIERS] * 4, TIERS]


def test_an_interval_runs_from_start_to_start(alone: Services) -> None:
    job = jobs(process(alone, drain_look_seconds=0.5))[0]
    stop, polled = Event(), list[float]()

    def poll() -> None:
        polled.append(time.monotonic())
        time.sleep(0.3)

    job._poll = poll
    with meanwhile(lambda: job.run(stop)):
        time.sleep(2.3)
        stop.set()
    assert len(polled) in (3, 4)
    assert polled[1] - polled[0] < 0.7
