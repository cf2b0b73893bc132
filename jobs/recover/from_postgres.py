"""Rebuilds ClickHouse from PostgreSQL: everything is queued and shipped once more, beside live
traffic. Archived messages come from a backup only."""

import time
from collections.abc import Callable, Sequence

from jobs.audit import AuditTrail
from jobs.recover.runs import OnProgress, RecoveryRun
from jobs.replicate import audit_outbox, row_outbox
from models import ids
from storage.clickhouse import schema
from storage.postgres.driver import rows_of, translated
from storage.resilience.retries import retry_until_available
from storage.tiers import Tiers

BATCH_MESSAGES = 20_000
MOST_WAITING = 100_000
"""Queued at once: more would only make the queue slow."""
PAUSE_SECONDS = 0.1

_TOTAL = "SELECT count(*) FROM messages"
_QUEUE = """
WITH batch AS (SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT :batch),
queued AS (INSERT INTO clickhouse_outbox (message_id) SELECT id FROM batch ORDER BY id)
SELECT max(id::text) AS last, count(*) AS queued FROM batch
"""
_WAITING = "SELECT count(*) FROM clickhouse_outbox"


class FromPostgreSQL:
    """The steps, in turn."""

    def __init__(
        self, tiers: Tiers, audit: AuditTrail, ships: Sequence[Callable[[], object]]
    ) -> None:
        """`ships` carry what is queued, messages first."""
        self._tiers = tiers
        self._audit = audit
        self._ships = ships

    def run(self, run: RecoveryRun, on_progress: OnProgress) -> dict[str, int]:
        """Does all of it; gives counts of what was queued. Raises `TierError`."""
        on_progress("opening", 0, 0)
        retry_until_available(schema.migrate_clickhouse, self._tiers.job_clickhouse)
        retry_until_available(self._audit.note, run.actor, "recovery.begun", f"run:{run.id}")
        counts = retry_until_available(self._queue_small)
        counts["messages"] = self._queue_messages(on_progress)
        for ship in self._ships:
            retry_until_available(ship)
        on_progress("shipping", 0, 0)
        self._ship_messages(0)
        return counts

    def _queue_small(self) -> dict[str, int]:
        with translated(), self._tiers.job_engine.begin() as connection:
            return {
                "row_copies": row_outbox.queue_all(connection),
                "audit_trail": audit_outbox.queue_all(connection),
            }

    def _queue_messages(self, on_progress: OnProgress) -> int:
        total = self._count(_TOTAL)
        after, done = ids.LOWEST, 0
        while True:
            values = {"after": after, "batch": BATCH_MESSAGES}
            (batch,) = retry_until_available(rows_of, self._tiers.job_engine, _QUEUE, values)
            done += int(batch.queued)
            if batch.last is None:
                return done
            after = batch.last
            on_progress("messages", done, max(done, total))
            self._ship_messages(MOST_WAITING)

    def _ship_messages(self, most: int) -> None:
        """Returns when no more than so many wait."""
        retry_until_available(self._ships[0])
        # Another process may be shipping; it is as good as this one.
        while retry_until_available(self._count, _WAITING) > most:
            time.sleep(PAUSE_SECONDS)
            retry_until_available(self._ships[0])

    def _count(self, query: str) -> int:
        return int(rows_of(self._tiers.job_engine, query)[0][0])
