"""Compares the three tiers, names every difference, and mends it where asked to.

First the roads are carried, as the workers do all the time, so that what is on its way is no
difference. Then each pair names suspects by figures computed inside the databases; only suspects
are fetched, from all tiers, and judged (`verdict`) until two looks agree.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection, text

from jobs.archive.expected_counts import CUT, expected
from jobs.audit import AuditTrail
from jobs.consistency.compare import backlogs, hashes, watermarks
from jobs.consistency.compare.redis_copies import HotComparison
from jobs.consistency.compare.redis_indexes import IndexComparison
from jobs.consistency.compare.rows import RowComparison, lost_slices
from jobs.consistency.compare.threads import ThreadCheck
from jobs.consistency.differences import differences_of, lost
from jobs.consistency.judge.confirmation import Confirmation
from jobs.consistency.judge.integrity import DataIntegrityValidator
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.repair.service import Repair
from jobs.consistency.report import (
    EVERYTHING,
    PAIRS,
    ConsistencyReport,
    Difference,
    Outcome,
    Pair,
    Scope,
    pair_report,
    score,
)
from jobs.consistency.reports import ConsistencyReports
from jobs.persist.drain import BackgroundPersistenceService
from storage.availability.hidden import archive_boundary
from storage.postgres.driver import translated
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

AUDITED_IDS = 1_000
"""So many ids stand in the audit trail's entry of a repair; its counts are of all."""


_REOPEN = text("UPDATE user_erasures SET finished_at = NULL WHERE user_id = ANY(:users)")


class _Found(NamedTuple):
    """What one look at everything found."""

    compared: dict[Pair, int]
    seconds: dict[Pair, float]
    verdicts: list[CopyVerdict]
    others: list[Difference]
    boundary: str


class ThreeTierConsistencyChecker:
    """Checks and mends. One at a time; safe beside live traffic and to be killed at any point."""

    def __init__(
        self,
        tiers: Tiers,
        carry: Callable[[], None],
        persistence: BackgroundPersistenceService,
        audit: AuditTrail,
    ) -> None:
        """`carry` empties the roads between the tiers, as workers do."""
        validator = DataIntegrityValidator()
        self.reports = ConsistencyReports(tiers.job_engine)
        self._tiers = tiers
        self._carry = carry
        self._audit = audit
        self._validator = validator
        self._look = Confirmation(tiers, carry, validator)
        self._rows = RowComparison(tiers.job_engine, tiers.job_clickhouse)
        self._hot = HotComparison(tiers.redis_door, tiers.redis, tiers.job_engine, validator)
        self._indexes = IndexComparison(tiers, carry)
        self._threads = ThreadCheck(tiers, carry)
        self._repair = Repair(tiers, self._look, persistence)

    def check(
        self,
        scope: Scope = EVERYTHING,
        *,
        actor: str,
        repair: bool = False,
    ) -> ConsistencyReport:
        """Checks, and mends if asked to. Raises `CheckRunning` and `TierError`."""
        return self.run(self.reports.open(scope, actor, repair=repair))

    def run(self, opened: ConsistencyReport) -> ConsistencyReport:
        """Does the check that a report was opened for. Raises `CheckRunning` and `TierError`,
        after the report says so."""
        started = time.monotonic()
        try:
            with self.reports.alone():
                return self._run(opened, started)
        except BaseException as error:
            self._tiers.instruments.checked("failed")
            self.reports.fail(opened, f"{type(error).__name__}: {error}")
            raise

    def _run(self, opened: ConsistencyReport, started: float) -> ConsistencyReport:
        found = self._find(opened.scope)
        differences = [*differences_of(found.verdicts), *found.others]
        if opened.repair and differences:
            differences = self._mend(found, opened.scope)
        report = self._report(opened, found, differences, time.monotonic() - started)
        with translated(), self._tiers.job_engine.begin() as connection:
            report = msgspec.structs.replace(report, dead_letters=backlogs.dead_letters(connection))
            report = self.reports.close(connection, report)
            if opened.repair:
                self._note(connection, report, differences)
        self._tiers.instruments.checked("done")
        say = log.warning if report.differing else log.info
        say(
            "checked",
            report=report.id,
            compared=report.compared,
            differing=report.differing,
            repaired=report.repaired,
            unrepairable=report.unrepairable,
        )
        return report

    def _find(self, scope: Scope) -> _Found:
        clock = _Stopwatch()
        tiers = self._tiers
        others = backlogs.evictable(tiers.redis_door, tiers.pending_log)
        self._carry()
        with translated(), tiers.job_engine.connect() as connection:
            boundary = archive_boundary(connection)
            suspects = watermarks.resurrected(connection, tiers.job_clickhouse, scope)
            suspects |= watermarks.of_erased_users(connection, tiers.job_clickhouse, scope)
        rows = self._rows.compare(scope, boundary)
        tiers.instruments.compared(rows.rows)
        for cut in self._rows.cuts(scope):
            suspects |= hashes.unsound(tiers.job_clickhouse, cut, self._validator)
        verdicts = self._look.prove(rows.suspects | suspects)
        clock.lap("postgresql-clickhouse")
        hot = self._hot.compare(scope)
        known = {one.id for one in verdicts}
        verdicts += self._look.prove(hot.suspects - known)
        known = {one.id for one in verdicts}
        indexes, listed = self._indexes.compare(scope, boundary)
        others += hot.misplaced + [one for one in listed if one.id not in known]
        tiers.instruments.compared(hot.copies + indexes)
        clock.lap("redis-postgresql")
        threads = self._threads.check(scope, verdicts, boundary)
        tiers.instruments.compared(threads.compared)
        others += threads.wrong
        clock.lap("threads")
        if scope.is_whole:
            others += self._queues() + self._lost()
        clock.lap("queues")
        compared: dict[Pair, int] = {
            "postgresql-clickhouse": rows.rows,
            "redis-postgresql": hot.copies + indexes,
            "threads": threads.compared,
        }
        return _Found(compared, clock.laps, verdicts, others, boundary)

    def _queues(self) -> list[Difference]:
        tiers = self._tiers
        with translated(), tiers.job_engine.connect() as connection:
            found = backlogs.waiting_in_postgres(connection)
        log_of_redis = tiers.pending_log
        return (
            found
            + backlogs.waiting(log_of_redis)
            + backlogs.orphans(tiers.redis_door, log_of_redis)
        )

    def _lost(self) -> list[Difference]:
        with translated(), self._tiers.job_engine.connect() as connection:
            least = expected(connection)
        return lost(lost_slices(self._tiers.job_clickhouse, CUT, least))

    def _mend(self, found: _Found, scope: Scope) -> list[Difference]:
        again = {owner[0] for one in found.verdicts if one.is_erased and (owner := one.owner)}
        self._reopen(again)
        mended = self._repair.messages([one for one in found.verdicts if not one.is_erased])
        self._repair.hot(found.others)
        self._carry()
        wrong = {(one.user_id or "", one.thread_id or "") for one in _of(found.others, "threads")}
        owners = {owner for one in found.verdicts if (owner := one.owner)}
        self._repair.threads(sorted(wrong | owners))
        left = self._left(found, scope)
        differences = []
        for one in differences_of(found.verdicts):
            repaired = one.id in mended
            outcome: Outcome = "repaired" if repaired else one.outcome or "changed"
            differences.append(msgspec.structs.replace(one, outcome=outcome))
        for one in found.others:
            outcome = "unrepairable" if (one.pair, one.kind, one.id) in left else "repaired"
            differences.append(msgspec.structs.replace(one, outcome=outcome))
        return differences

    def _reopen(self, users: set[str]) -> None:
        """Has the erasure of these users look again, by whoever carries erasures out."""
        with translated(), self._tiers.job_engine.begin() as connection:
            connection.execute(_REOPEN, {"users": list(users)})

    def _left(self, found: _Found, scope: Scope) -> set[tuple[str, str, str]]:
        """What is still wrong beside the copies themselves."""
        if not found.others:
            return set()
        tiers = self._tiers
        now = backlogs.evictable(tiers.redis_door, tiers.pending_log)
        now += self._hot.compare(scope).misplaced if _of(found.others, "redis-postgresql") else []
        now += self._indexes.compare(scope, found.boundary)[1]
        now += self._threads.check(scope, (), found.boundary).wrong
        now += self._queues() + self._lost()
        return {(one.pair, one.kind, one.id) for one in now}

    def _report(
        self,
        opened: ConsistencyReport,
        found: _Found,
        differences: Sequence[Difference],
        seconds: float,
    ) -> ConsistencyReport:
        pairs = {
            pair: pair_report(
                pair, found.compared.get(pair, 0), differences, found.seconds.get(pair, 0.0)
            )
            for pair in PAIRS
        }
        compared = sum(one.compared for one in pairs.values())
        differing = sum(one.differing for one in pairs.values())
        return msgspec.structs.replace(
            opened,
            state="done",
            seconds=round(seconds, 3),
            data_consistency_score=score(compared, differing),
            compared=compared,
            differing=differing,
            repaired=sum(one.repaired for one in pairs.values()),
            unrepairable=sum(one.unrepairable for one in pairs.values()),
            pairs=pairs,
            differences=list(differences),
        )

    def _note(
        self, connection: Connection, report: ConsistencyReport, differences: Sequence[Difference]
    ) -> None:
        """What was done stands in the audit trail, in the transaction that keeps the report."""
        counts = Counter(f"{one.outcome or 'named'}:{one.name}" for one in differences)
        ids: dict[str, list[str]] = {}
        for one in differences[:AUDITED_IDS]:
            ids.setdefault(f"{one.outcome or 'named'}:{one.name}", []).append(one.id)
        subject = "consistency:" + (
            "all"
            if report.scope.is_whole
            else f"{report.scope.user_id or '*'}/{report.scope.thread_id or '*'}"
        )
        details = {"report": report.id, "ids": ids}
        self._audit.record(connection, report.actor, "consistency.repair", subject, counts, details)


class _Stopwatch:
    def __init__(self) -> None:
        self._since = time.monotonic()
        self.laps: dict[Pair, float] = {}

    def lap(self, pair: Pair) -> None:
        now = time.monotonic()
        self.laps[pair], self._since = now - self._since, now


def _of(differences: Iterable[Difference], pair: Pair) -> list[Difference]:
    return [one for one in differences if one.pair == pair]
