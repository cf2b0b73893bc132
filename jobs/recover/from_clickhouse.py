"""Rebuilds PostgreSQL and Redis from ClickHouse alone, beside live traffic. Each step may be
repeated, and is noted in PostgreSQL, so a recovery that was killed goes on where it was."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from sqlalchemy import Connection

from jobs.recover.bootstrap import Bootstrap, Bootstrapped
from jobs.recover.clickhouse_source import ClickHouseSource, Position
from jobs.recover.loading import load
from jobs.recover.runs import OnProgress, RecoveryRun
from jobs.recover.thread_counts import ThreadCounter
from models import codec, ids
from storage.clickhouse import fingerprints
from storage.clickhouse.fingerprints import Cut
from storage.errors import TierError
from storage.postgres import restore, writes
from storage.postgres import states as state_writes
from storage.postgres.driver import execute, rows_of, transact, translated
from storage.postgres.locks import lock_slots
from storage.postgres.partitions import Partitions
from storage.redis import keys
from storage.resilience.bites import batches
from storage.resilience.faultpoints import faultpoint
from storage.resilience.retries import retry_until_available
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

SHARES = 16
"""Slices that the ids of a month are compared in."""

NAMED_ROWS = 500
"""Rows that are loaded again at once."""

_FINISH = (
    "UPDATE recovery_runs SET finished_at = clock_timestamp()"
    " WHERE id = :run AND finished_at IS NULL"
)
_NOTE = "UPDATE recovery_runs SET progress = CAST(:progress AS json) WHERE id = :run"
_NOTED = "SELECT progress::text AS progress FROM recovery_runs WHERE id = :run"
_LOWER_BOUNDARY = "UPDATE archive_boundary SET below = :boundary"


class LoadProgress(msgspec.Struct):
    """How far a run is: how many messages it has loaded, newest month first, and the last."""

    rows: int = 0
    after: Position | None = None


class FromClickHouse:
    """The steps, in turn."""

    def __init__(self, tiers: Tiers, bootstrap: Bootstrap, replay: Callable[[], int]) -> None:
        """`replay` hands direct writes over to PostgreSQL."""
        self._tiers = tiers
        self._engine = tiers.job_engine
        self._source = ClickHouseSource(tiers.job_clickhouse)
        self._bootstrap = bootstrap
        self._replay = replay

    def run(self, run: RecoveryRun, on_progress: OnProgress) -> dict[str, int]:
        """Does all of it; gives counts of what was restored. Raises `TierError`."""
        on_progress("opening", 0, 0)
        opened = retry_until_available(
            self._bootstrap.open, run.id, run.actor, run.target_rto_seconds
        )
        faultpoint("recovery.opened")
        counts = dict(opened.restored)
        counts["audit_trail"] = self._audit(on_progress)
        counts["messages"] = self._messages(opened, on_progress)
        counts |= self._verify(opened, on_progress)
        counts["brought_home"] = retry_until_available(self._replay)
        counts["hot_copies"] = self._restore_hot_copies(on_progress)
        counts["threads"] = ThreadCounter(self._tiers).run(opened.boundary, on_progress)
        retry_until_available(self._finish, opened)
        faultpoint("recovery.finished")
        return counts

    def _audit(self, on_progress: OnProgress) -> int:
        done, after = 0, None
        while lines := retry_until_available(self._source.audit, after):
            on_progress("audit trail", done, 0)
            rows = [line.decode() for line in lines]
            after = retry_until_available(transact, self._engine, restore.restore_audit, rows)
            done += len(lines)
        return done

    def _messages(self, opened: Bootstrapped, on_progress: OnProgress) -> int:
        """Loads months, the newest first, and notes with each page how far that is."""
        months = retry_until_available(self._source.months, opened.boundary)
        (row,) = rows_of(self._engine, _NOTED, run=opened.run_id)
        progress = msgspec.json.decode(row.progress, type=LoadProgress, strict=False)
        total = sum(months.values())
        for month in months:
            if progress.after is not None and month > progress.after.month:
                continue
            while lines := retry_until_available(
                self._source.page, month, opened.boundary, progress.after
            ):
                end = msgspec.json.decode(lines[-1], type=Position)
                progress = LoadProgress(progress.rows + len(lines), end)
                retry_until_available(self._store, opened.run_id, progress, lines)
                on_progress("messages", progress.rows, total)
                faultpoint("recovery.after_page")
        on_progress("messages", total, total)
        return total

    def _store(self, run: str, progress: LoadProgress, lines: list[bytes]) -> None:
        with translated(), self._engine.begin() as connection:
            load(connection, lines)
            execute(connection, _NOTE, run=run, progress=codec.text(progress))

    def _verify(self, opened: Bootstrapped, on_progress: OnProgress) -> dict[str, int]:
        months = retry_until_available(self._source.months, opened.boundary)
        compared = lacking = 0
        for number, month in enumerate(months, 1):
            rows, missing = retry_until_available(
                _verify_month, self._tiers, month, opened.boundary
            )
            compared, lacking = compared + rows, lacking + missing
            on_progress("verifying", number, len(months))
        return {"verified": compared, "loaded_again": lacking}

    def _restore_hot_copies(self, on_progress: OnProgress) -> int:
        on_progress("hot copies", 0, 0)
        try:
            return sum(_restore_from_redis(self._tiers))
        except TierError as error:
            if error.tier != "redis":
                raise
            # Redis is not there, or of no use: what it alone had cannot be restored.
            log.warning("no_hot_copies", reason=error.reason)
            return 0

    def _finish(self, opened: Bootstrapped) -> None:
        with translated(), self._engine.begin() as connection:
            # Only once, or a boundary that rose since would be lowered again.
            if execute(connection, _FINISH, run=opened.run_id).rowcount:
                restore.begin(connection)
                execute(connection, _LOWER_BOUNDARY, boundary=opened.boundary)


def _verify_month(tiers: Tiers, month: int, boundary: str) -> tuple[int, int]:
    """Compares a month (as 202611) by checksums of slices, and loads what PostgreSQL lacks; gives
    how many rows were compared, and how many it lacked. A newer version is as good."""
    engine, server = tiers.job_engine, tiers.job_clickhouse
    cut = _cut(month, boundary)
    theirs = fingerprints.clickhouse_slices(server, cut)
    mine = transact(engine, fingerprints.postgres_slices, cut)
    differing = [key for key, found in theirs.items() if mine.get(key) != found]
    archived = fingerprints.clickhouse_rows(server, cut, differing)
    committed = transact(engine, fingerprints.postgres_rows, cut, differing)
    lacking = [
        name
        for name, mark in archived.items()
        if name not in committed or committed[name].version < mark.version
    ]
    for batch in batches(lacking, NAMED_ROWS):
        lines = ClickHouseSource(server).named(batch)
        transact(engine, load, lines)
    return sum(found.rows for found in theirs.values()), len(lacking)


def _cut(month: int, boundary: str) -> Cut:
    year, number = divmod(month, 100)
    begin = datetime(year, number, 1, tzinfo=UTC)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    low_ms = max(ids.time_us(begin), ids.time_us_of(boundary)) // 1000
    return Cut(low_ms=low_ms, high_ms=ids.time_us(end) // 1000, shares=SHARES)


def _restore_from_redis(tiers: Tiers) -> Iterator[int]:
    """Writes every message, thread and state of Redis to PostgreSQL where newer; yields for each
    batch how many versions were. ClickHouse lags a second or two, and of that time these are the
    last, which Redis is about to drop as committed."""
    partitions = Partitions(tiers.job_engine)

    def put_messages(connection: Connection, records: Sequence[bytes]) -> int:
        names = [codec.decode(record).id for record in records]
        partitions.ensure_for(names)
        slots = {ids.shard_in(name) % tiers.settings.shards for name in names}
        lock_slots(connection, slots)
        return writes.upsert_messages(connection, records)

    def put_threads(connection: Connection, records: Sequence[bytes]) -> int:
        threads = map(codec.decode_thread, records)
        return sum(writes.upsert_thread(connection, thread) for thread in threads)

    messages, threads = keys.EVERY_RECORD
    kinds = [
        (threads, put_threads),
        (messages, put_messages),
        *((pattern, state_writes.upsert) for pattern in keys.EVERY_STATE),
    ]
    for pattern, put in kinds:
        for names in tiers.redis_door.scan(pattern):
            found = tiers.redis_door.each(lambda pipeline, name: pipeline.get(name), names)
            if records := [record for record in found if record]:
                yield transact(tiers.job_engine, put, records)
