"""The first step of rebuilding PostgreSQL: one transaction after which it answers correctly.

With the schema come all small tables, the threads with their watermarks and counts, and the mark
by which Redis is known. The archive boundary is raised above everything meanwhile, so readers look
into ClickHouse too for whatever was not loaded yet. No reader ever meets a PostgreSQL that has
forgotten something, and writers may go on from this commit on.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from jobs import audit_chain
from jobs.audit import AuditTrail
from jobs.recover.clickhouse_source import ClickHouseSource
from jobs.recover.runs import CLICKHOUSE
from jobs.replicate import row_outbox
from models import codec, ids
from storage.availability.bypass import note_clickhouse
from storage.availability.checks.installation import FOREIGN, identity
from storage.availability.hidden import archive_boundary
from storage.clickhouse import schema as clickhouse_schema
from storage.errors import Refused, TierError
from storage.postgres import locks, partitions, restore, schema
from storage.postgres.driver import execute, translated
from storage.redis.driver import translated as redis_translated
from storage.resilience.bites import batches
from storage.tiers import Tiers

_BEGUN = (
    "SELECT id::text AS id, boundary::text AS boundary FROM recovery_runs"
    " WHERE finished_at IS NULL OR id = :id"
)
_RAISE_BOUNDARY = "UPDATE archive_boundary SET below = :highest"
_BEGIN = """
INSERT INTO recovery_runs (id, source, actor, target_rto_seconds, boundary)
VALUES (:id, :source, :actor, :target, :boundary)
"""
_STATE = "SELECT installation::text AS installation, run_id FROM redis_state"
_KEEP_INSTALLATION = "UPDATE redis_state SET installation = :installation, run_id = ''"
_COPY_INSTALLATION = "SELECT queue_row_copies('redis_state')"
# Threads get the counts that ClickHouse knows; those of which there is no copy are made.
_THREADS_OF_MESSAGES = """
INSERT INTO threads (user_id, id, created_at, updated_at, version, last_message_at, message_count)
SELECT user_id, thread_id, first, first, 1, last, messages
FROM json_to_recordset(CAST(:rows AS json)) AS r (
    user_id text, thread_id text, messages bigint, first timestamptz, last timestamptz)
ON CONFLICT (user_id, id) DO UPDATE SET
    message_count = CASE WHEN threads.deleted_at IS NULL THEN excluded.message_count ELSE 0 END,
    last_message_at = CASE WHEN threads.deleted_at IS NULL
        THEN greatest(threads.last_message_at, excluded.last_message_at) END
"""


class Bootstrapped(msgspec.Struct, frozen=True):
    """What the first step did: the id of the run, the archive boundary that is restored at its
    end, and how many rows were restored of each table."""

    run_id: str
    boundary: str
    restored: dict[str, int]


class Bootstrap:
    """Makes or finds what a recovery rests on. Safe to repeat."""

    def __init__(self, tiers: Tiers, audit: AuditTrail) -> None:
        self._tiers = tiers
        self._server = tiers.job_clickhouse
        self._audit = audit

    def open(self, run_id: str, actor: str, target_rto_seconds: float | None) -> Bootstrapped:
        """Begins a run, or goes on with the unfinished one. Raises `TierError`, and `Refused` for
        a Redis of another installation."""
        clickhouse_schema.migrate_clickhouse(self._server)
        # Asked first: no transaction of PostgreSQL stays open for as long as ClickHouse takes.
        copies = row_outbox.newest(self._server)
        source = ClickHouseSource(self._server)
        threads = source.threads()
        mondays = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in source.weeks()]
        mark = self._mark()
        with translated(), self._tiers.migrate_engine.begin() as connection:
            is_new = schema.upgrade_postgres(connection).is_new
            row_outbox.continue_numbers(connection, self._server)
            restore.begin(connection)
            begun = execute(connection, _BEGUN, id=run_id).one_or_none()
            if begun is not None:
                return Bootstrapped(begun.id, begun.boundary, {})
            _keep_installation(connection, copies, mark, is_new)
            execute(connection, _COPY_INSTALLATION)
            saved = [str(_decoded(row)["below"]) for row in copies.get("archive_boundary", [])]
            boundary = max([archive_boundary(connection), *saved])
            restored = restore.restore_tables(connection, copies, replace=is_new)
            restored["threads"] = restore.restore_threads(connection, copies.get("threads", []))
            if is_new:
                audit_chain.restore(connection, self._server)
                # Drains count what is added from now on.
                locks.lock_slots(connection, range(self._tiers.settings.shards))
                for batch in batches(threads, restore.BATCH_ROWS):
                    execute(connection, _THREADS_OF_MESSAGES, rows=codec.json_array(batch))
            self._make_partitions(connection, boundary, mondays)
            execute(connection, _RAISE_BOUNDARY, highest=ids.HIGHEST)
            # Whoever saw nothing of the loss asks ClickHouse, too, what it took meanwhile.
            note_clickhouse(connection)
            values = {"id": run_id, "source": CLICKHOUSE, "actor": actor}
            execute(connection, _BEGIN, **values, target=target_rto_seconds, boundary=boundary)
            self._audit.record(connection, actor, "recovery.begun", f"run:{run_id}", restored)
        return Bootstrapped(run_id, boundary, restored)

    def _mark(self) -> str:
        """The installation that Redis belongs to; empty where there is none or no answer."""
        try:
            with redis_translated():
                return identity(self._tiers.redis_client).installation
        except TierError:
            return ""

    def _make_partitions(
        self, connection: Connection, boundary: str, mondays: Sequence[datetime]
    ) -> None:
        this_week = partitions.monday_of(datetime.now(UTC))
        weeks = range(self._tiers.settings.partition_weeks_ahead + 1)
        ahead = [this_week + partitions.WEEK * week for week in weeks]
        for monday in sorted({*mondays, *ahead}):
            if partitions.bound(monday) >= boundary:
                partitions.make(connection, monday)


def _keep_installation(
    connection: Connection, copies: Mapping[str, Sequence[str]], mark: str, is_new: bool
) -> None:
    """PostgreSQL and Redis stay one installation: the lost one, or the new one where Redis has
    adopted that already."""
    state = execute(connection, _STATE).one()
    saved = [_decoded(row)["installation"] for row in copies.get("redis_state", [])]
    if mark and mark not in {state.installation, *saved}:
        raise Refused(f"redis: {FOREIGN}")
    was_never_adopted = is_new or not state.run_id
    kept = mark or (saved[0] if saved and was_never_adopted else state.installation)
    if kept != state.installation:
        execute(connection, _KEEP_INSTALLATION, installation=kept)


def _decoded(row: str) -> dict[str, Any]:
    return msgspec.json.decode(row, type=dict[str, Any])
