"""What ClickHouse still has of deleted threads and erased users, which watermarks hide, and how far
behind it is."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from models import ids
from storage.clickhouse.driver import LIST_BYTES, literal
from storage.postgres.driver import execute
from storage.postgres.reads import PostgresTier
from storage.redis.pending_log import PendingLog
from storage.redis.unpersisted import UnpersistedWrites

MOST_MARKS = 1_000
"""Deleted threads that one query leaves out; an hourly run erases them from ClickHouse for good."""
MOST_CHARACTERS = LIST_BYTES
"""Of what a query says of them."""

_THREADS = """
SELECT user_id, id, deleted_through::text AS through FROM threads
WHERE deleted_through IS NOT NULL AND purged_through IS DISTINCT FROM deleted_through
  AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
ORDER BY deleted_through DESC LIMIT :most
"""
_ERASURES = """
SELECT user_id, erased_through::text AS through FROM user_erasures
WHERE CASE WHEN CAST(:user_id AS text) IS NULL THEN finished_at IS NULL ELSE user_id = :user_id END
ORDER BY requested_at DESC LIMIT :most
"""
_OLDEST = (
    "SELECT extract(epoch FROM clock_timestamp() - queued_at) FROM clickhouse_outbox"
    " ORDER BY sequence LIMIT 1"
)


class Mark(NamedTuple):
    """Of a user's thread, or of all of them, nothing at or below an id is there."""

    user_id: str
    thread_id: str | None
    through: str

    def condition(self) -> str:
        """Which rows of its user this hides, for ClickHouse."""
        thread = "" if self.thread_id is None else f"thread_id = {literal(self.thread_id)} AND "
        return f"({thread}toString(id) <= '{self.through}')"


def shown(marks: Iterable[Mark]) -> str:
    """The rows that none of these hides, for ClickHouse; as many of the first as there is room
    for."""
    by_user: dict[str, list[str]] = {}
    room = MOST_CHARACTERS
    for mark in marks:
        user, condition = literal(mark.user_id), mark.condition()
        room -= len(condition) + (0 if user in by_user else len(user)) + 30
        if room < 0:
            break
        by_user.setdefault(user, []).append(condition)
    of_users = [f"(user_id = {user} AND ({' OR '.join(of)}))" for user, of in by_user.items()]
    return f"NOT ({' OR '.join(of_users)})" if of_users else "true"


class Unshipped(NamedTuple):
    """What one tier knows that ClickHouse may not: since when, in microseconds since 1970, None
    where nothing waits, and what is not to be seen any more."""

    since_us: int | None
    marks: list[Mark]


@dataclass(eq=False)
class Hidden:
    """Asks PostgreSQL and Redis. Errors leave as `TierError`."""

    _postgres: PostgresTier
    _unpersisted: UnpersistedWrites
    _log: PendingLog

    def unpersisted(self, user_id: str | None) -> Unshipped:
        """Acknowledged writes that PostgreSQL may not have, and what a user deleted just now."""
        since_us = _ago_us(self._log.status().waiting_seconds)
        deleted = self._unpersisted.of(user_id).marks if user_id is not None else {}
        marks = [Mark(user_id or "", name, at) for name, at in deleted.items() if at > ids.LOWEST]
        return Unshipped(since_us, marks)

    def committed(self, user_id: str | None) -> Unshipped:
        """Committed writes that ClickHouse may not have, and what a user, or anybody, deleted."""
        values = {"user_id": user_id, "most": MOST_MARKS}
        acting = (
            self._postgres.as_operator() if user_id is None else self._postgres.as_user(user_id)
        )
        with acting as connection:
            waiting = execute(connection, _OLDEST).scalar_one_or_none()
            erasures = execute(connection, _ERASURES, values).all()
            threads = execute(connection, _THREADS, values).all()
        marks = [Mark(row.user_id, None, row.through) for row in erasures]
        marks += [Mark(row.user_id, row.id, row.through) for row in threads]
        return Unshipped(_ago_us(waiting), marks)


def _ago_us(seconds: float | Decimal | None) -> int | None:
    """How long ago it was is known by the clock of whoever wrote it down; when, by ours."""
    if seconds is None:
        return None
    return time.time_ns() // 1_000 - int(max(0.0, float(seconds)) * 1_000_000)


def as_of(moments_us: Iterable[int | None]) -> str:
    """The earliest of some moments, or now."""
    known = [moment for moment in moments_us if moment is not None]
    return ids.timestamp(min([time.time_ns() // 1_000, *known]))
