"""PostgreSQL and Redis made again from ClickHouse alone.

Each step may be repeated, and is noted in PostgreSQL with what it did; so a recovery that was
killed goes on where it was. Writers and workers go on meanwhile.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlalchemy import Engine, text

from jobs.recover.clickhouse_source import ClickHouseSource, RowPage, json_array
from jobs.recover.loading import LoadProgress, load, note, noted
from jobs.recover.opening import Bootstrap, Bootstrapped
from jobs.recover.redis_copies import HotCopies
from jobs.recover.runs import RecoveryRun
from jobs.recover.thread_counts import ThreadCounter
from jobs.recover.verifying import Verifier
from storage.clickhouse.driver import ClickHouse
from storage.errors import TierError
from storage.postgres import restore
from storage.postgres.driver import translated
from storage.resilience.faultpoints import faultpoint
from storage.resilience.retries import retry_until_available

Tell = Callable[[str, int, int], None]
"""Is told a stage, how much of it is done, and how much there is."""

log = structlog.get_logger(__name__)

_FINISH = text(
    "UPDATE recovery_runs SET finished_at = clock_timestamp()"
    " WHERE id = :run AND finished_at IS NULL"
)
_LOWER_BOUNDARY = text("UPDATE archive_boundary SET below = :boundary")


class FromClickHouse:
    """The steps, in turn."""

    def __init__(
        self,
        engine: Engine,
        server: ClickHouse,
        opening: Bootstrap,
        hot_copies: HotCopies,
        replay: Callable[[], int],
        slots: int,
    ) -> None:
        self._engine = engine
        self._source = ClickHouseSource(server)
        self._opening = opening
        self._hot_copies = hot_copies
        self._replay = replay
        self._counter = ThreadCounter(engine, server, slots)
        self._verifier = Verifier(engine, server)

    def run(self, run: RecoveryRun, tell: Tell) -> dict[str, int]:
        """Does all of it; gives counts of what was restored. Raises `TierError` with everything
        that was done noted."""
        tell("opening", 0, 0)
        opened = retry_until_available(
            self._opening.open, run.id, run.actor, run.target_rto_seconds
        )
        faultpoint("recovery.opened")
        counts = dict(opened.restored)
        counts["audit_trail"] = self._audit(opened.run_id, tell)
        counts["messages"] = self._messages(opened, tell)
        counts |= self._verify(opened, tell)
        counts["brought_home"] = retry_until_available(self._replay)
        counts["hot_copies"] = self._carry_hot_copies_home(tell)
        counts["threads"] = self._count_threads(opened, tell)
        retry_until_available(self._finish, opened)
        faultpoint("recovery.finished")
        return counts

    def _audit(self, run: str, tell: Tell) -> int:
        progress = noted(self._engine, run)
        done = 0
        while lines := retry_until_available(self._source.audit, progress.audited).splitlines():
            tell("audit trail", done, 0)
            rows = [line.decode() for line in lines]
            retry_until_available(self._store_audit, run, progress, rows)
            done += len(lines)
        return done

    def _store_audit(self, run: str, progress: LoadProgress, rows: list[str]) -> None:
        with translated(), self._engine.begin() as connection:
            progress.audited = restore.restore_audit(connection, rows)
            note(connection, run, progress)

    def _messages(self, opened: Bootstrapped, tell: Tell) -> int:
        progress = noted(self._engine, opened.run_id)
        months = retry_until_available(self._source.months, opened.boundary)
        total = sum(months.values())
        with ThreadPoolExecutor(1, "recovery") as ahead:
            for month in months:
                if month in progress.months:
                    continue
                if progress.month != month:
                    progress.month, progress.rows, progress.after = month, 0, None
                for _ in self._month(opened, month, progress, ahead):
                    tell("messages", progress.done, total)
                progress.months[month], progress.month = months[month], 0
                progress.rows, progress.after = 0, None
        retry_until_available(self._note, opened.run_id, progress)
        tell("messages", total, total)
        return total

    def _month(
        self, opened: Bootstrapped, month: int, progress: LoadProgress, ahead: ThreadPoolExecutor
    ) -> Iterator[int]:
        """While PostgreSQL writes a page, ClickHouse gives the next."""
        read = self._source.page
        page = retry_until_available(read, month, opened.boundary, progress.after)
        while page.rows:
            following = ahead.submit(retry_until_available, read, month, opened.boundary, page.end)
            progress.after = page.end
            progress.rows += page.rows
            retry_until_available(self._store, opened.run_id, progress, page)
            yield page.rows
            faultpoint("recovery.after_page")
            page = following.result()

    def _store(self, run: str, progress: LoadProgress, page: RowPage) -> None:
        with translated(), self._engine.begin() as connection:
            load(connection, json_array(page.lines))
            note(connection, run, progress)

    def _note(self, run: str, progress: LoadProgress) -> None:
        with translated(), self._engine.begin() as connection:
            note(connection, run, progress)

    def _verify(self, opened: Bootstrapped, tell: Tell) -> dict[str, int]:
        months = retry_until_available(self._source.months, opened.boundary)
        compared = lacking = 0
        steps = self._verifier.run(list(months), opened.boundary)
        for number, (rows, missing) in enumerate(steps, 1):
            compared, lacking = compared + rows, lacking + missing
            tell("verifying", number, len(months))
        return {"verified": compared, "loaded_again": lacking}

    def _carry_hot_copies_home(self, tell: Tell) -> int:
        tell("hot copies", 0, 0)
        try:
            return sum(self._hot_copies.restore_from_redis())
        except TierError as error:
            if error.tier != "redis":
                raise
            # It is not there, or of no use: what it alone had is not to be had.
            log.warning("no_hot_copies", reason=error.reason)
            return 0

    def _count_threads(self, opened: Bootstrapped, tell: Tell) -> int:
        total = retry_until_available(self._counter.total)
        done = 0
        for step in self._counter.run(opened.boundary):
            done += step
            tell("threads", done, max(done, total))
        return done

    def _finish(self, opened: Bootstrapped) -> None:
        with translated(), self._engine.begin() as connection:
            # Only once, or a boundary that rose since would be lowered again.
            if connection.execute(_FINISH, {"run": opened.run_id}).rowcount:
                restore.begin(connection)
                connection.execute(_LOWER_BOUNDARY, {"boundary": opened.boundary})
