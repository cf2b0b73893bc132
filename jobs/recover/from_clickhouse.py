"""Rebuilds PostgreSQL and Redis from ClickHouse alone, beside live traffic. Each step may be
repeated, and is noted in PostgreSQL, so a recovery that was killed goes on where it was."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import structlog
from sqlalchemy import text

from jobs.recover.bootstrap import Bootstrap, Bootstrapped
from jobs.recover.clickhouse_source import ClickHouseSource, Position, RowPage
from jobs.recover.loading import LoadProgress, load, note, noted
from jobs.recover.redis_copies import restore_from_redis
from jobs.recover.runs import OnProgress, RecoveryRun
from jobs.recover.thread_counts import ThreadCounter
from models import ids
from storage.clickhouse import fingerprints
from storage.clickhouse.fingerprints import Cut
from storage.errors import TierError
from storage.postgres import restore
from storage.postgres.driver import translated
from storage.resilience.bites import batches
from storage.resilience.faultpoints import faultpoint
from storage.resilience.retries import retry_until_available
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

SHARES = 16
"""Slices that the ids of a month are compared in."""

NAMED_ROWS = 500
"""Rows that are loaded again at once."""

_FINISH = text(
    "UPDATE recovery_runs SET finished_at = clock_timestamp()"
    " WHERE id = :run AND finished_at IS NULL"
)
_LOWER_BOUNDARY = text("UPDATE archive_boundary SET below = :boundary")


class FromClickHouse:
    """The steps, in turn."""

    def __init__(self, tiers: Tiers, bootstrap: Bootstrap, replay: Callable[[], int]) -> None:
        """`replay` hands direct writes over to PostgreSQL."""
        self._tiers = tiers
        self._engine = tiers.job_engine
        self._server = tiers.job_clickhouse
        self._source = ClickHouseSource(self._server)
        self._bootstrap = bootstrap
        self._replay = replay
        self._counter = ThreadCounter(tiers)

    def run(self, run: RecoveryRun, on_progress: OnProgress) -> dict[str, int]:
        """Does all of it; gives counts of what was restored. Raises `TierError`."""
        on_progress("opening", 0, 0)
        opened = retry_until_available(
            self._bootstrap.open, run.id, run.actor, run.target_rto_seconds
        )
        faultpoint("recovery.opened")
        counts = dict(opened.restored)
        progress = noted(self._engine, opened.run_id)
        counts["audit_trail"] = self._audit(opened.run_id, progress, on_progress)
        counts["messages"] = self._messages(opened, progress, on_progress)
        counts |= self._verify(opened, on_progress)
        counts["brought_home"] = retry_until_available(self._replay)
        counts["hot_copies"] = self._restore_hot_copies(on_progress)
        counts["threads"] = self._count_threads(opened, on_progress)
        retry_until_available(self._finish, opened)
        faultpoint("recovery.finished")
        return counts

    def _audit(self, run: str, progress: LoadProgress, on_progress: OnProgress) -> int:
        done = 0
        while lines := retry_until_available(self._source.audit, progress.audited):
            on_progress("audit trail", done, 0)
            retry_until_available(self._store_audit, run, progress, lines)
            done += len(lines)
        return done

    def _store_audit(self, run: str, progress: LoadProgress, lines: list[bytes]) -> None:
        with translated(), self._engine.begin() as connection:
            progress.audited = restore.restore_audit(connection, [line.decode() for line in lines])
            note(connection, run, progress)

    def _messages(
        self, opened: Bootstrapped, progress: LoadProgress, on_progress: OnProgress
    ) -> int:
        months = retry_until_available(self._source.months, opened.boundary)
        total = sum(months.values())
        with ThreadPoolExecutor(1, "recovery") as ahead:
            for month in months:
                if month in progress.months:
                    continue
                if progress.month != month:
                    progress.month, progress.rows, progress.after = month, 0, None
                for _ in self._month(opened, progress, ahead):
                    on_progress("messages", progress.done, total)
                progress.months[month] = months[month]
                progress.month, progress.rows, progress.after = 0, 0, None
        retry_until_available(self._store, opened.run_id, progress, [])
        on_progress("messages", total, total)
        return total

    def _month(
        self, opened: Bootstrapped, progress: LoadProgress, ahead: ThreadPoolExecutor
    ) -> Iterator[None]:
        """While PostgreSQL writes a page, ClickHouse gives the next."""

        def read(after: Position | None) -> RowPage:
            return retry_until_available(self._source.page, progress.month, opened.boundary, after)

        page = read(progress.after)
        while page.rows:
            following = ahead.submit(read, page.end)
            progress.after = page.end
            progress.rows += page.rows
            retry_until_available(self._store, opened.run_id, progress, page.lines)
            yield
            faultpoint("recovery.after_page")
            page = following.result()

    def _store(self, run: str, progress: LoadProgress, lines: list[bytes]) -> None:
        with translated(), self._engine.begin() as connection:
            if lines:
                load(connection, lines)
            note(connection, run, progress)

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
            return sum(restore_from_redis(self._tiers))
        except TierError as error:
            if error.tier != "redis":
                raise
            # Redis is not there, or of no use: what it alone had cannot be restored.
            log.warning("no_hot_copies", reason=error.reason)
            return 0

    def _count_threads(self, opened: Bootstrapped, on_progress: OnProgress) -> int:
        total = retry_until_available(self._counter.total)
        done = 0
        for step in self._counter.run(opened.boundary):
            done += step
            on_progress("threads", done, max(done, total))
        return done

    def _finish(self, opened: Bootstrapped) -> None:
        with translated(), self._engine.begin() as connection:
            # Only once, or a boundary that rose since would be lowered again.
            if connection.execute(_FINISH, {"run": opened.run_id}).rowcount:
                restore.begin(connection)
                connection.execute(_LOWER_BOUNDARY, {"boundary": opened.boundary})


def _verify_month(tiers: Tiers, month: int, boundary: str) -> tuple[int, int]:
    """Compares a month (as 202611) by checksums of slices, and loads what PostgreSQL lacks; gives
    how many rows were compared, and how many it lacked. A newer version is as good."""
    engine, server = tiers.job_engine, tiers.job_clickhouse
    cut = _cut(month, boundary)
    theirs = fingerprints.clickhouse_slices(server, cut)
    with translated(), engine.connect() as connection:
        mine = fingerprints.postgres_slices(connection, cut)
    differing = [key for key, found in theirs.items() if mine.get(key) != found]
    archived = fingerprints.clickhouse_rows(server, cut, differing)
    with translated(), engine.connect() as connection:
        committed = fingerprints.postgres_rows(connection, cut, differing)
    lacking = [
        name
        for name, mark in archived.items()
        if name not in committed or committed[name].version < mark.version
    ]
    for batch in batches(lacking, NAMED_ROWS):
        page = ClickHouseSource(server).named(batch)
        with translated(), engine.begin() as connection:
            load(connection, page.lines)
    return sum(found.rows for found in theirs.values()), len(lacking)


def _cut(month: int, boundary: str) -> Cut:
    year, number = divmod(month, 100)
    begin = datetime(year, number, 1, tzinfo=UTC)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    low_ms = max(ids.time_us(begin), ids.time_us_of(boundary)) // 1000
    return Cut(low_ms=low_ms, high_ms=ids.time_us(end) // 1000, shares=SHARES)
