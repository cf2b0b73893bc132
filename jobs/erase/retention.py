"""Applies retention policies: messages that have had their time become tombstones, as if their user
had deleted them, also where ClickHouse alone has them. Each run counts what is due before and
after, and says so in the audit trail even where that is nothing."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Select, func, select

from jobs.audit import SYSTEM, AuditTrail
from models import codec, ids
from models.message import VERSION_STEP, Message
from models.tables import messages
from storage.availability.hidden import archive_boundary
from storage.clickhouse.pages import Selection, archived_messages
from storage.errors import TierError
from storage.postgres import locks, writes
from storage.postgres.driver import message_of, rows_of, transact, translated
from storage.postgres.partitions import Partitions
from storage.postgres.tombstones import tombstone_of
from storage.resilience.bites import batches
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

BATCH_MESSAGES = 500
DAY_US = 86_400_000_000

# A thread's own policy or hold comes before its user's.
_SCOPES = """
SELECT p.user_id, p.thread_id, p.keep_days,
       EXISTS (SELECT FROM retention_policies h WHERE h.legal_hold AND h.user_id = p.user_id
               AND h.thread_id IN ('', p.thread_id)) AS on_hold,
       ARRAY(SELECT o.thread_id FROM retention_policies o WHERE o.user_id = p.user_id
             AND o.thread_id <> '' AND p.thread_id = '') AS without
FROM retention_policies p WHERE p.keep_days IS NOT NULL ORDER BY p.user_id, p.thread_id
"""
_KNOWN = "SELECT id::text FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))"


class RetentionRun(NamedTuple):
    """Counts of one run: policies, those that a hold suspends, messages due, erased, and still
    due at its end. `incomplete` says what kept it from looking everywhere."""

    policies: int = 0
    on_hold: int = 0
    due: int = 0
    erased: int = 0
    left: int = 0
    incomplete: str = ""


class _Scope(NamedTuple):
    user_id: str
    thread_id: str
    without: list[str]
    cutoff: str


class RetentionService:
    """Applies every policy. Safe to repeat, and to run twice at once."""

    def __init__(self, tiers: Tiers, audit: AuditTrail) -> None:
        self._tiers = tiers
        self._engine = tiers.job_engine
        self._partitions = Partitions(tiers.job_engine)
        self._audit = audit

    def apply(self, *, by: str = SYSTEM) -> RetentionRun:
        """One run over all policies. Raises `TierUnavailable` without PostgreSQL."""
        scopes, on_hold = self._scopes()
        due = erased = left = 0
        incomplete = ""
        for scope in scopes:
            try:
                due += self._count(scope)
                erased += self._erase(scope)
                left += self._count(scope)
            except TierError as error:
                incomplete = str(error)
        run = RetentionRun(len(scopes) + on_hold, on_hold, due, erased, left, incomplete)
        if run.policies:
            counts = {name: count for name, count in run._asdict().items() if name != "incomplete"}
            details = {"incomplete": incomplete} if incomplete else {}
            self._audit.note(by, "retention.applied", "retention", counts, details)
            report = log.error if left or incomplete else log.info
            report("retention_applied", **run._asdict())
        return run

    def _scopes(self) -> tuple[list[_Scope], int]:
        rows = rows_of(self._engine, _SCOPES)
        now_us = self._tiers.clock.now_us()
        scopes = [
            _Scope(
                row.user_id,
                row.thread_id,
                list(row.without),
                ids.lowest(ids.timestamp(max(0, now_us - row.keep_days * DAY_US))),
            )
            for row in rows
            if not row.on_hold
        ]
        return scopes, len(rows) - len(scopes)

    def _count(self, scope: _Scope) -> int:
        query = _due(scope, select(func.count()).select_from(messages))
        committed = int(rows_of(self._engine, query)[0][0])
        return committed + sum(len(batch) for batch in self._archived(scope))

    def _erase(self, scope: _Scope) -> int:
        erased, after = 0, ids.LOWEST
        while True:
            query = _due(scope, select(messages)).where(messages.c.id > after)
            rows = rows_of(self._engine, query.order_by(messages.c.id).limit(BATCH_MESSAGES))
            batch = [message_of(row) for row in rows]
            if not batch:
                break
            erased += self._bury(batch)
            after = batch[-1].id
        for batch in self._archived(scope):
            self._partitions.ensure_for(one.id for one in batch)
            erased += self._bury(batch)
        return erased

    def _bury(self, batch: Sequence[Message]) -> int:
        moment = ids.timestamp(self._tiers.clock.now_us())
        with translated(), self._engine.begin() as connection:
            # Whoever writes one of them at the same moment counts it as well.
            slots = {ids.shard_in(one.id) % self._tiers.settings.shards for one in batch}
            locks.lock_slots(connection, slots, locks.PATIENCE)
            # Room for the versions that Redis may hold and nobody has seen, and for those that were
            # written since these were read.
            buried = [tombstone_of(one, one.version + VERSION_STEP, moment) for one in batch]
            written = writes.upsert_messages(connection, [codec.encode(one) for one in buried])
            writes.queue_backfill(connection, buried)
        return written

    def _archived(self, scope: _Scope) -> Iterator[list[Message]]:
        """Due messages that ClickHouse alone has."""
        boundary = transact(self._engine, archive_boundary)
        below = min(scope.cutoff, boundary)
        if below == ids.LOWEST:
            return
        selection = Selection(scope.user_id, scope.thread_id or None)
        found = (
            one
            for one in archived_messages(self._tiers.job_clickhouse, selection, below)
            if one.id < below and one.thread_id not in scope.without
        )
        for batch in batches(found, BATCH_MESSAGES):
            # Of those ClickHouse is yet to hear.
            rows = rows_of(self._engine, _KNOWN, ids=[one.id for one in batch])
            known = {row.id for row in rows}
            if alone := [one for one in batch if one.id not in known]:
                yield alone


def _due(scope: _Scope, query: Select[Any]) -> Select[Any]:
    """What is due of the messages that PostgreSQL has."""
    conditions = [
        messages.c.user_id == scope.user_id,
        messages.c.id < scope.cutoff,
        messages.c.deleted_at.is_(None),
        messages.c.thread_id.not_in(scope.without),
    ]
    if scope.thread_id:
        conditions.append(messages.c.thread_id == scope.thread_id)
    return query.where(*conditions)
