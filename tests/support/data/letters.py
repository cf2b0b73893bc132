"""Refused writes as tests make them, and where what becomes of them is to be seen."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from sqlalchemy import func, select

from jobs.persist.dead_letters import DeadLetter, DeadLetterService
from jobs.persist.drain import Drained
from models.message import Message
from models.tables import clickhouse_outbox, messages, threads
from storage.redis import keys
from support.data.samples import append_of, message
from support.faults.refusing import refusing
from wiring.process import Services

BAD = "what PostgreSQL will not take"
NOT_BAD = f"NOT starts_with(content, '{BAD}')"


def inject(alone: Services, user: str, record: bytes, kind: str = "message") -> None:
    """Puts a record straight into the log of the user's thread, beside Redis's other keys."""
    log = keys.pending(alone.tiers.redis.slot_of_thread(user, "t"))
    alone.tiers.redis_client.xadd(log, {kind: record})


def only(service: DeadLetterService) -> DeadLetter:
    (letter,), cursor = service.list(limit=10, cursor=None)
    assert cursor is None
    return letter


def row_of(alone: Services, one: Message) -> Any:
    with alone.tiers.job_engine.connect() as connection:
        query = select(messages).where(messages.c.id == one.id)
        return connection.execute(query).one_or_none()


def queued(alone: Services, one: Message) -> int:
    query = select(func.count()).where(clickhouse_outbox.c.message_id == one.id)
    with alone.tiers.job_engine.connect() as connection:
        return connection.execute(query).scalar_one()


def counted(alone: Services, user: str) -> int:
    query = select(threads.c.message_count).where(threads.c.user_id == user, threads.c.id == "t")
    with alone.tiers.job_engine.connect() as connection:
        return connection.execute(query).scalar_one()


def listed(alone: Services, user: str) -> list[str]:
    page = alone.failover.retrieval.page(user, "t", limit=1000, cursor=None, order="asc")
    return [one.id for one in page.messages]


def refused_message(
    alone: Services, user: str, drain: Callable[[], Drained], bad: ExitStack
) -> Message:
    """An acknowledged message that became a dead letter; its cause lasts until `bad` closes."""
    bad.enter_context(refusing(alone, NOT_BAD))
    # No other test's is like it.
    one = message(user, content=f"{BAD}: {user}")
    alone.tiers.redis.append([append_of(one)], 60)
    assert drain().refused == 1
    return one


def refused_thread(
    alone: Services, user: str, drain: Callable[[], Drained], bad: ExitStack
) -> None:
    bad.enter_context(refusing(alone, f"user_id <> '{user}'", "threads"))
    alone.threads.create(user, "t", "a title", {})
    assert drain().refused == 1
