"""The list of threads as tests make, read and mark it."""

from collections.abc import Callable
from typing import Any

import msgspec

from jobs.persist.drain import Drained
from models.message import ThreadSummary
from storage.messages.posts import Draft
from storage.threads.page import FIRST_PAGE, ThreadList
from support.faults.outages import end_bypasses
from support.waiting import eventually
from wiring.process import Services

Drain = Callable[[], Drained]


def post(own: Services, user: str, thread: str, content: str = "hello") -> Any:
    return own.messages.post(user, thread, Draft("user", content, {}, None)).message


def page(own: Services, user: str, **query: Any) -> ThreadList:
    return own.thread_cache_manager.page(user, FIRST_PAGE._replace(**query))


def figures(found: ThreadList) -> list[tuple[str, int, str | None]]:
    return [(one.id, one.message_count, one.last_message_preview) for one in found.threads]


def one(found: ThreadList) -> ThreadSummary:
    (summary,) = found.threads
    return summary


def mark(own: Services, user: str, thread: str, **marks: bool) -> None:
    own.threads.change(user, thread, title=msgspec.UNSET, metadata=msgspec.UNSET, **marks)


def begin_whole(alone: Services) -> None:
    """Nobody writes beside Redis, and it knows all that was."""
    end_bypasses(alone)
    alone.failover.redis_recovery.reconcile()
    eventually(lambda: alone.failover.lease.current().redis_complete)
