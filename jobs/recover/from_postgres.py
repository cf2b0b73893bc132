"""ClickHouse made again from PostgreSQL: everything is queued once more and shipped as ever.

What ClickHouse has already it keeps once, so that this may be repeated, and beside live traffic.
What was archived, and so was in ClickHouse alone, comes from a backup only.
"""

import time
from collections.abc import Callable

from sqlalchemy import Engine, text

from jobs.audit import AuditTrail
from jobs.recover.from_clickhouse import Tell
from jobs.recover.runs import RecoveryRun
from jobs.replicate import row_outbox
from models import ids
from storage.clickhouse import schema
from storage.clickhouse.driver import ClickHouse
from storage.postgres.driver import translated
from storage.resilience.retries import retry_until_available

BATCH_MESSAGES = 20_000
MOST_WAITING = 100_000
"""Queued at once: more would only make the queue slow."""
PAUSE_SECONDS = 0.1

_TOTAL = text("SELECT count(*) FROM messages")
_QUEUE = text(
    """
WITH batch AS (SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT :batch),
queued AS (INSERT INTO clickhouse_outbox (message_id) SELECT id FROM batch ORDER BY id)
SELECT max(id::text) AS last, count(*) AS queued FROM batch
"""
)
_QUEUE_AUDIT = text(
    "INSERT INTO audit_outbox (audit_id) SELECT id FROM audit_trail ON CONFLICT DO NOTHING"
)
_WAITING = text("SELECT count(*) FROM clickhouse_outbox")


class FromPostgreSQL:
    """The steps, in turn."""

    def __init__(
        self,
        engine: Engine,
        server: ClickHouse,
        audit: AuditTrail,
        ships: tuple[Callable[[], object], ...],
    ) -> None:
        """`ships` carry what is queued, messages first."""
        self._engine = engine
        self._server = server
        self._audit = audit
        self._ships = ships

    def run(self, run: RecoveryRun, tell: Tell) -> dict[str, int]:
        """Does all of it; gives counts of what was queued. Raises `TierError`."""
        tell("opening", 0, 0)
        retry_until_available(schema.migrate_clickhouse, self._server)
        retry_until_available(self._audit.note, run.actor, "recovery.begun", f"run:{run.id}")
        counts = retry_until_available(self._queue_small)
        counts["messages"] = self._queue_messages(tell)
        for ship in self._ships:
            retry_until_available(ship)
        tell("shipping", 0, 0)
        # Another process may be shipping; it is as good as this one.
        while retry_until_available(self._waiting):
            retry_until_available(self._ships[0])
            time.sleep(PAUSE_SECONDS)
        return counts

    def _queue_small(self) -> dict[str, int]:
        with translated(), self._engine.begin() as connection:
            copies = row_outbox.queue_all(connection)
            audit = connection.execute(_QUEUE_AUDIT).rowcount
        return {"row_copies": copies, "audit_trail": int(audit)}

    def _queue_messages(self, tell: Tell) -> int:
        with translated(), self._engine.begin() as connection:
            total = int(connection.execute(_TOTAL).scalar_one())
        after, done = ids.LOWEST, 0
        while True:
            last, queued = retry_until_available(self._queue, after)
            done += queued
            if last is None:
                return done
            after = last
            tell("messages", done, max(done, total))
            retry_until_available(self._ships[0])
            while retry_until_available(self._waiting) > MOST_WAITING:
                time.sleep(PAUSE_SECONDS)

    def _queue(self, after: str) -> tuple[str | None, int]:
        with translated(), self._engine.begin() as connection:
            row = connection.execute(_QUEUE, {"after": after, "batch": BATCH_MESSAGES}).one()
        return row.last, int(row.queued)

    def _waiting(self) -> int:
        with translated(), self._engine.begin() as connection:
            return int(connection.execute(_WAITING).scalar_one())
