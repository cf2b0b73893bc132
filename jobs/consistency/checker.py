"""Compares the three tiers, names every difference, and repairs it where asked to. The pipeline is
drained first. Each pair then names suspects by figures computed inside the databases; only suspects
are fetched, and judged until two readings agree."""

import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from jobs.archive.expected_counts import CUT, expected
from jobs.audit import AuditTrail
from jobs.consistency.compare import backlogs, redis_copies, redis_indexes, rows, threads
from jobs.consistency.judge.confirmation import Confirmation
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.repair.service import Repair
from jobs.consistency.report import (
    EVERYTHING,
    PAIRS,
    Compared,
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
from storage.postgres.driver import execute, transact, translated
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

TOTALS = ("compared", "differing", "repaired", "unrepairable")
AUDITED_IDS = 1_000
"""So many ids stand in the audit trail's entry of a repair; its counts are of all."""

_DEAD_LETTERS = "SELECT count(*) FROM dead_letters"
_REOPEN = "UPDATE user_erasures SET finished_at = NULL WHERE user_id = ANY(:users)"


class _Found:
    """What one comparison of everything found."""

    def __init__(self, boundary: str) -> None:
        self.boundary = boundary
        self.verdicts: list[CopyVerdict] = []
        self.others: list[Difference] = []
        self.compared: Counter[Pair] = Counter()
        self.seconds: dict[Pair, float] = dict.fromkeys(PAIRS, 0.0)
        self._since = time.monotonic()

    def add(self, pair: Pair, step: Compared, known: Container[str]) -> None:
        """Adds what was compared since the last time, without what is known to be wrong."""
        now = time.monotonic()
        self.seconds[pair] += now - self._since
        self._since = now
        self.compared[pair] += step.number
        self.others += [one for one in step.differences if one.id not in known]


class ThreeTierConsistencyChecker:
    """Checks and repairs. One at a time; safe in live traffic and to be killed at any point."""

    def __init__(
        self,
        tiers: Tiers,
        drain_pipeline: Callable[[], None],
        persistence: BackgroundPersistenceService,
        audit: AuditTrail,
    ) -> None:
        """`drain_pipeline` carries on what waits between the tiers, as workers do."""
        self.reports = ConsistencyReports(tiers.job_engine)
        self._tiers = tiers
        self._drain_pipeline = drain_pipeline
        self._audit = audit
        self._confirmation = Confirmation(tiers, drain_pipeline)
        self._repair = Repair(tiers, self._confirmation, persistence)

    def check(
        self, scope: Scope = EVERYTHING, *, actor: str, repair: bool = False
    ) -> ConsistencyReport:
        """Checks, and repairs if asked to. Raises `CheckRunning` and `TierError`."""
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
        differences = [*_differences(found.verdicts), *found.others]
        if opened.repair and differences:
            differences = self._repair_all(found, opened.scope)
        report = self._report(opened, found, differences, time.monotonic() - started)
        with translated(), self._tiers.job_engine.begin() as connection:
            letters = execute(connection, _DEAD_LETTERS).scalar_one()
            report = msgspec.structs.replace(report, dead_letters=letters)
            report = self.reports.close(connection, report)
            if opened.repair:
                self._note(connection, report, differences)
        self._tiers.instruments.checked("done")
        say = log.warning if report.differing else log.info
        say("checked", report=report.id, **{name: getattr(report, name) for name in TOTALS})
        return report

    def _find(self, scope: Scope) -> _Found:
        evictable = backlogs.evictable(self._tiers)
        self._drain_pipeline()
        found = _Found(transact(self._tiers.job_engine, archive_boundary))
        found.others += evictable
        for pair, step in self._compare_all(scope, found):
            self._tiers.instruments.compared(step.number)
            known = {one.id for one in found.verdicts}
            found.verdicts += self._confirmation.prove(step.suspects - known)
            found.add(pair, step, known)
        return found

    def _compare_all(self, scope: Scope, found: _Found) -> Iterator[tuple[Pair, Compared]]:
        """Each comparison comes once the suspects of the one before it are judged."""
        yield "postgresql-clickhouse", rows.compare(self._tiers, scope, found.boundary)
        yield "redis-postgresql", redis_copies.compare(self._tiers, scope)
        yield from self._compare_others(scope, found)

    def _compare_others(self, scope: Scope, found: _Found) -> Iterator[tuple[Pair, Compared]]:
        """Compares everything but the copies of messages."""
        tiers, drain = self._tiers, self._drain_pipeline
        yield "redis-postgresql", redis_indexes.compare(tiers, drain, scope, found.boundary)
        yield "threads", threads.compare(tiers, drain, scope, found.verdicts)
        if scope.is_whole:
            least = transact(tiers.job_engine, expected)
            lost = rows.lost_slices(tiers.job_clickhouse, CUT, least)
            yield "queues", Compared(differences=(*backlogs.queues(tiers), *lost))

    def _repair_all(self, found: _Found, scope: Scope) -> list[Difference]:
        """Repairs what can be, and says of every difference what became of it."""
        again = {owner[0] for one in found.verdicts if one.is_erased and (owner := one.owner)}
        # Whoever carries erasures out erases these users once more.
        transact(self._tiers.job_engine, execute, _REOPEN, users=list(again))
        repaired = self._repair.messages([one for one in found.verdicts if not one.is_erased])
        self._repair.others(found.others)
        self._drain_pipeline()
        wrong = {one.thread for one in found.others if one.pair == "threads"}
        owners = {owner for one in found.verdicts if (owner := one.owner)}
        self._repair.threads(sorted(wrong | owners))
        left = self._left(found, scope)
        differences = []
        for one in _differences(found.verdicts):
            outcome: Outcome = "repaired" if one.id in repaired else one.outcome or "changed"
            differences.append(msgspec.structs.replace(one, outcome=outcome))
        for one in found.others:
            outcome = "unrepairable" if (one.pair, one.kind, one.id) in left else "repaired"
            differences.append(msgspec.structs.replace(one, outcome=outcome))
        return differences

    def _left(self, found: _Found, scope: Scope) -> set[tuple[str, str, str]]:
        """What is still wrong, apart from copies of messages: pair, kind and id."""
        if not found.others:
            return set()
        now = backlogs.evictable(self._tiers)
        if any(one.kind == "misplaced" for one in found.others):
            now += redis_copies.compare(self._tiers, scope).differences
        for _, step in self._compare_others(scope, _Found(found.boundary)):
            now += step.differences
        return {(one.pair, one.kind, one.id) for one in now}

    def _report(
        self,
        opened: ConsistencyReport,
        found: _Found,
        differences: Sequence[Difference],
        seconds: float,
    ) -> ConsistencyReport:
        pairs = {
            pair: pair_report(pair, found.compared[pair], differences, found.seconds[pair])
            for pair in PAIRS
        }
        totals: Any = {name: sum(getattr(one, name) for one in pairs.values()) for name in TOTALS}
        return msgspec.structs.replace(
            opened,
            state="done",
            seconds=round(seconds, 3),
            data_consistency_score=score(totals["compared"], totals["differing"]),
            pairs=pairs,
            **totals,
            differences=list(differences),
        )

    def _note(
        self, connection: Connection, report: ConsistencyReport, differences: Sequence[Difference]
    ) -> None:
        """What was done stands in the audit trail, in the transaction that keeps the report."""
        counts = Counter(f"{one.outcome or 'named'}:{one.name}" for one in differences)
        named: dict[str, list[str]] = {}
        for one in differences[:AUDITED_IDS]:
            named.setdefault(f"{one.outcome or 'named'}:{one.name}", []).append(one.id)
        scope = report.scope
        named_scope = f"{scope.user_id or '*'}/{scope.thread_id or '*'}"
        subject = f"consistency:{'all' if scope.is_whole else named_scope}"
        details = {"report": report.id, "ids": named}
        self._audit.record(connection, report.actor, "consistency.repair", subject, counts, details)


def _differences(verdicts: Iterable[CopyVerdict]) -> list[Difference]:
    return [difference for one in verdicts for difference in one.differences]
