"""What a drain of 500 new messages asks PostgreSQL and Redis: it cannot creep."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.connection import AbstractConnection
from sqlalchemy import event

from jobs.persist.drain import Drained
from support.data.samples import append_of, message
from wiring.process import Services

MESSAGES = 500
USERS, THREADS = 64, 5

STATEMENTS = ["begin", "SELECT", "SAVEPOINT", "WITH", "RELEASE", "commit"]
"""The locks of the slots, and the messages with their threads and the outbox."""

REDIS_ROUND_TRIPS = 2
"""The log is read in one, and settled in one."""


@contextmanager
def statements_of(alone: Services) -> Iterator[list[str]]:
    """What goes to PostgreSQL during the block: the first word of each statement, and where
    transactions begin and end."""
    engine = alone.tiers.request_engine
    sent: list[str] = []
    listeners: dict[str, Any] = {
        "before_cursor_execute": lambda *given: sent.append(given[2].split()[0])
    }
    for step in ("begin", "commit", "rollback"):
        listeners[step] = lambda *_, step=step: sent.append(step)
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield sent
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


@pytest.fixture
def redis_round_trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each send to Redis of the test's own thread takes."""
    sent: list[int] = []
    own = threading.get_ident()
    send = AbstractConnection.send_packed_command

    def counted(connection: Any, command: Any, *given: Any, **options: Any) -> Any:
        if threading.get_ident() == own:
            sent.append(len(command))
        return send(connection, command, *given, **options)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)
    return sent


def log_of_new_messages(alone: Services) -> None:
    """Fills the log with new messages of many threads, some of which PostgreSQL knows."""
    for at in range(MESSAGES):
        one = message(f"budget-{at % USERS}", f"thread-{at % THREADS}")
        alone.tiers.redis.append([append_of(one)], 60)


def test_a_drain_of_new_messages_keeps_its_budget(
    alone: Services, redis_round_trips: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    persistence = alone.jobs.persistence
    # Whatever is asked once a process is not counted: scripts, partitions, the record of the poll.
    log_of_new_messages(alone)
    persistence.drain_all(range(alone.settings.shards))
    monkeypatch.setattr(alone.tiers.pending_log, "_recorded_at", float("inf"))
    log_of_new_messages(alone)
    redis_round_trips.clear()
    with statements_of(alone) as statements:
        done = persistence.drain(range(alone.settings.shards))
    assert done == Drained(MESSAGES, MESSAGES)
    assert statements == STATEMENTS
    assert len(redis_round_trips) == REDIS_ROUND_TRIPS
