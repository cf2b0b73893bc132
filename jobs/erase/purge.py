"""What was deleted leaves ClickHouse physically, by mutations of bounded size: superseded versions
of messages whose newest is a tombstone, and messages of deleted threads that ClickHouse alone has
and no tombstone comes for. Their links keep only the hashes of their entries. What is on hold
stays."""

from typing import Any, NamedTuple

import structlog
from sqlalchemy import Row

from jobs.archive.expected_counts import lower_expected
from jobs.audit import SYSTEM, AuditTrail
from jobs.erase.policies import NOT_ON_HOLD, Holds, all_holds
from jobs.replicate.row_outbox import RowCopies
from storage.clickhouse import thread_links
from storage.clickhouse.driver import EVERY_ROW, literal
from storage.postgres.driver import execute, rows_of, transact, translated
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 2_000
"""Named in one mutation, which stays well below the size of a query."""

MUTATIONS = 20
"""Of one run; what is more is left to the next."""

THREADS_AT_ONCE = 200

_SUPERSEDED = """
SELECT toString(m.id) AS name, m.version, m.user_id, m.thread_id FROM messages m INNER JOIN (
    SELECT id, max(version) AS newest FROM messages
    WHERE id IN (SELECT id FROM messages WHERE is_deleted = 1)
    GROUP BY id HAVING argMax(is_deleted, (version, archived_at)) = 1) t ON m.id = t.id
WHERE m.version < t.newest AND (name, m.version) > ('{name}', {version})
ORDER BY name, m.version LIMIT {limit}
"""
_MASKED = (
    "SELECT count() FROM system.parts WHERE active AND has_lightweight_delete"
    " AND database = currentDatabase() AND table = 'messages'"
)
_THREADS = (
    "SELECT user_id, id, deleted_through::text FROM threads t"  # noqa: S608
    " WHERE deleted_through IS NOT NULL"
    " AND purged_through IS DISTINCT FROM deleted_through AND erased_through = deleted_through"
    f" AND {NOT_ON_HOLD} LIMIT :batch"
)
_PURGED = (
    "UPDATE threads SET purged_through = :through"
    " WHERE user_id = :user_id AND id = :id AND deleted_through = :through"
)


class Purged(NamedTuple):
    """Counts of rows that left ClickHouse: versions of deleted messages, and messages of deleted
    threads."""

    versions: int = 0
    of_threads: int = 0


class PhysicalErasure:
    """Purges ClickHouse. Safe to repeat; stops at any point without harm."""

    def __init__(self, tiers: Tiers, copies: RowCopies, audit: AuditTrail) -> None:
        self._tiers = tiers
        self._server = tiers.job_clickhouse
        self._copies = copies
        self._audit = audit

    def purge(self) -> Purged:
        """One run. Raises `TierError`, with what was not purged left to the next."""
        holds = transact(self._tiers.job_engine, all_holds)
        if self._server.number(_MASKED):
            # Mutations pass over what a lightweight delete has hidden.
            self._server.mutate("messages", "APPLY DELETED MASK")
        purged = Purged(self._purge_versions(holds), self._purge_threads())
        self._copies.ship()
        if self._copies.has_old():
            self._copies.compact()
        if any(purged):
            self._audit.note(SYSTEM, "messages.purged", "clickhouse", purged._asdict())
            log.info("purged", **purged._asdict())
        return purged

    def _purge_versions(self, holds: Holds) -> int:
        purged = mutations = version = 0
        name = ""
        while mutations < MUTATIONS:
            query = _SUPERSEDED.format(name=name, version=version, limit=ROWS_AT_ONCE)
            rows = self._server.rows(f"{query} {EVERY_ROW}")
            if not rows:
                break
            name, version = rows[-1][0], int(rows[-1][1])
            # Holds may be too many to be named in a statement.
            free = [row for row in rows if not holds.cover(row[2], row[3])]
            if free:
                named = ", ".join(f"('{row[0]}', {row[1]})" for row in free)
                self._server.mutate("messages", f"DELETE WHERE (id, version) IN ({named})")
                thread_links.forget(self._server, f"(message_id, version) IN ({named})")
                purged, mutations = purged + len(free), mutations + 1
        return purged

    def _purge_threads(self) -> int:
        due = rows_of(self._tiers.job_engine, _THREADS, batch=THREADS_AT_ONCE)
        if not due:
            return 0
        condition = f"is_deleted = 0 AND ({' OR '.join(map(_of_thread, due))})"
        count = f"SELECT count() FROM messages WHERE {condition} {EVERY_ROW}"  # noqa: S608
        purged = self._server.number(count)
        if purged:
            # The rows are all that names their hot copies.
            self._forget(condition)
            lower_expected(self._tiers.job_engine, self._server, condition)
            self._server.mutate("messages", f"DELETE WHERE {condition}")
        thread_links.forget(self._server, " OR ".join(_of_thread(row, "message_id") for row in due))
        with translated(), self._tiers.job_engine.begin() as connection:
            for row in due:
                values = {"user_id": row.user_id, "id": row.id, "through": row.deleted_through}
                execute(connection, _PURGED, values)
        return purged

    def _forget(self, condition: str) -> None:
        """Drops the hot copies of rows that are to go."""
        name = ""
        while rows := self._server.rows(
            f"SELECT DISTINCT toString(id) AS name FROM messages WHERE {condition}"  # noqa: S608
            f" AND name > '{name}' ORDER BY name LIMIT {ROWS_AT_ONCE} {EVERY_ROW}"
        ):
            self._tiers.redis_repair.evict([row[0] for row in rows])
            name = rows[-1][0]


def _of_thread(row: Row[Any], name: str = "id") -> str:
    return (
        f"(user_id = {literal(row.user_id)} AND thread_id = {literal(row.id)}"
        f" AND toString({name}) <= '{row.deleted_through}')"
    )
