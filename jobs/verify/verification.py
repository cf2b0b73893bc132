"""Walks the hash chain of every thread over PostgreSQL and ClickHouse, and judges it.

What seems wrong is read once more by itself: the tiers are not read at one moment.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from jobs.transfer.export import DECLARE_MESSAGES, fetch, snapshot_connection
from jobs.verify import erasures
from jobs.verify.evidence import Part, by_thread, kept_parts
from jobs.verify.report import VerificationReport
from jobs.verify.thread_check import Flaw, ThreadEvidence, flaws_of
from models.chain import Head
from storage.clickhouse import thread_links
from storage.clickhouse.pages import Selection, archived_messages
from storage.postgres.driver import execute, message_of, transact
from storage.postgres.thread_heads import Thread
from storage.tiers import Tiers

_DECLARE_HEADS = """
DECLARE verified_heads NO SCROLL CURSOR WITH HOLD FOR
SELECT user_id, thread_id, length, link FROM thread_heads
WHERE (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR thread_id = :thread_id)
ORDER BY user_id COLLATE "C", thread_id COLLATE "C"
"""
_WAITING = "SELECT message_id::text FROM clickhouse_outbox"

OnProgress = Callable[[int], object]
"""Is told how many threads were walked."""


@dataclass(eq=False)
class ChainVerifier:
    """Verifies chains, beside live traffic. `_carry_on` links what is on its way."""

    _tiers: Tiers
    _carry_on: Callable[[], object]

    def verify(
        self,
        selection: Selection = Selection(),  # noqa: B008 - it is immutable.
        kept: Mapping[Thread, Head] | None = None,
        on_progress: OnProgress = lambda _: None,
    ) -> VerificationReport:
        """Walks the selected threads. `kept` are heads that were kept elsewhere. Raises
        `TierError`."""
        self._carry_on()
        kept = kept or {}
        report = VerificationReport(kept_heads=len(kept))
        report.found(self._unsigned_erasures())
        suspects: list[Thread] = []
        for evidence in self._evidence(selection, kept):
            report.walked(evidence)
            if next(flaws_of(evidence), None) is not None:
                suspects.append((evidence.user_id, evidence.thread_id))
            on_progress(report.threads)
        for thread in suspects:
            for evidence in self._evidence(Selection(*thread), kept):
                report.found(list(flaws_of(evidence)))
        return report

    def _unsigned_erasures(self) -> list[Flaw]:
        since = thread_links.first_linked_at(self._tiers.job_clickhouse)
        secrets = self._tiers.settings.jwt_secrets
        return transact(self._tiers.job_engine, erasures.load, since, secrets).flaws

    def _evidence(
        self, selection: Selection, kept: Mapping[Thread, Head]
    ) -> Iterator[ThreadEvidence]:
        server = self._tiers.job_clickhouse
        with snapshot_connection(self._tiers.job_engine) as connection:
            since = thread_links.first_linked_at(server)
            erased = erasures.load(connection, since, self._tiers.settings.jwt_secrets)
            waiting = frozenset(execute(connection, _WAITING).scalars())
            for statement in (_DECLARE_HEADS, DECLARE_MESSAGES):
                execute(connection, statement, selection._asdict())
            connection.commit()
            committed = map(message_of, fetch(connection, "exported_messages"))
            archived = archived_messages(server, selection, tombstones=True)
            for evidence in by_thread(
                map(_head, fetch(connection, "verified_heads")),
                kept_parts(kept, selection),
                map(Part.of_link, thread_links.links(server, selection)),
                (Part.of_message("postgresql", one) for one in committed),
                (Part.of_message("clickhouse", one) for one in archived),
            ):
                yield evidence._replace(
                    erased_through=erased.through.get(evidence.user_id, ""),
                    linked_since=since,
                    waiting=waiting,
                )


def _head(row: Row[Any]) -> Part:
    return Part((row.user_id, row.thread_id), head=Head(row.length, row.link))
