"""Compares rows of PostgreSQL with ClickHouse one by one, and ships again what ClickHouse lacks or
has in an older version. A newer version there counts where it matches its own hash."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import MetaData, select, text

from jobs.replicate.message_outbox import ROW_AS_JSON
from models import codec, tables
from models.message import Message
from storage.clickhouse.fingerprints import MOST_NAMED, clickhouse_rows_of, named, postgres_rows_of
from storage.clickhouse.rows import message_of, newest
from storage.errors import TierRejected
from storage.postgres.driver import message_of as message_of_postgres
from storage.postgres.driver import rows_of, transact
from storage.postgres.tombstones import HIDDEN
from storage.resilience.bites import batches
from storage.resilience.faultpoints import faultpoint
from storage.tiers import Tiers

ROUNDS = 3
"""How often a row that changes while it is compared is compared again."""


class RowProof(NamedTuple):
    """The version of each row that ClickHouse is proven to have, how many rows were shipped again,
    of how many it has a newer version, and why the rest cannot be proven."""

    versions: dict[str, int]
    reshipped: int = 0
    newer: int = 0
    trouble: str | None = None


class RowProver:
    """Proves rows, and ships again what it takes."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    def prove(self, table: str, message_ids: Sequence[str], attempt: int) -> RowProof:
        """Proves these rows of a table, as they are now. Raises `TierError`."""
        total = RowProof({})
        for batch in batches(message_ids, MOST_NAMED):
            step = self._prove(table, batch, attempt)
            total = RowProof(
                total.versions | step.versions,
                total.reshipped + step.reshipped,
                total.newer + step.newer,
                total.trouble or step.trouble,
            )
        return total

    def _prove(self, table: str, batch: Sequence[str], attempt: int) -> RowProof:
        reshipped = 0
        for number in range(ROUNDS + 1):
            ours = transact(self._tiers.job_engine, postgres_rows_of, table, batch)
            with self._tiers.breakers.clickhouse.guard(is_bulk=True):
                theirs = clickhouse_rows_of(self._tiers.job_clickhouse, list(ours))
            versions = {name: mark.version for name, mark in ours.items()}
            known = {name: mark.version for name, mark in theirs.items()}
            older = [name for name, version in versions.items() if known.get(name, 0) < version]
            newer = [name for name, version in versions.items() if known.get(name, 0) > version]
            same = (name for name, version in versions.items() if known.get(name) == version)
            doubtful = [name for name in same if ours[name] != theirs[name]]
            damage = self._damage(table, newer, doubtful)
            lacking = [*older, *(name for name in doubtful if name not in damage)]
            lacking = self._without_deleted(table, lacking)
            if not lacking or number == ROUNDS:
                break
            reshipped += self._ship(table, lacking, f"archive:{attempt}:{number}")
        unproven = damage.keys() | set(lacking)
        return RowProof(
            {name: version for name, version in versions.items() if name not in unproven},
            reshipped,
            sum(name not in unproven for name in newer),
            _words(damage, lacking),
        )

    def _without_deleted(self, table: str, message_ids: list[str]) -> list[str]:
        """What went with its thread or its user is not brought back to where it may be erased."""
        if not message_ids:
            return []
        query = (
            f"SELECT m.id::text FROM {table} m"  # noqa: S608
            " LEFT JOIN threads t ON t.user_id = m.user_id AND t.id = m.thread_id"
            " LEFT JOIN user_erasures e ON e.user_id = m.user_id"
            f" WHERE m.id = ANY(CAST(:ids AS uuid[])) AND {HIDDEN}"
        )
        gone = {row.id for row in rows_of(self._tiers.job_engine, query, ids=message_ids)}
        return [name for name in message_ids if name not in gone]

    def _damage(self, table: str, newer: Sequence[str], doubtful: Sequence[str]) -> dict[str, str]:
        """The rows that can be neither believed nor shipped, and whose copy is to blame."""
        damage = {}
        if newer:
            with self._tiers.breakers.clickhouse.guard(is_bulk=True):
                intact = {one.id for one in self._archived(newer) if codec.is_intact(one)}
            damage = {name: "ClickHouse's newer" for name in newer if name not in intact}
        if doubtful:
            own = tables.messages.to_metadata(MetaData(), name=table)
            rows = rows_of(self._tiers.job_engine, select(own).where(own.c.id.in_(doubtful)))
            kept = map(message_of_postgres, rows)
            damage |= {one.id: "PostgreSQL's" for one in kept if not codec.is_intact(one)}
        return damage

    def _archived(self, message_ids: Sequence[str]) -> Iterator[Message]:
        for row in self._tiers.job_clickhouse.rows(newest(text(named(message_ids)))):
            try:
                yield message_of(row)
            except TierRejected:
                # No message at all, so none that is whole.
                continue

    def _ship(self, table: str, message_ids: Sequence[str], token: str) -> int:
        """Sends rows as they are now; gives how many. No transaction is open meanwhile."""
        query = (
            "SELECT count(*) AS rows, string_agg(line, E'\\n') AS lines FROM ("  # noqa: S608
            f"SELECT {ROW_AS_JSON} AS line FROM {table} m"
            " WHERE m.id = ANY(CAST(:ids AS uuid[])) ORDER BY m.id) AS rendered"
        )
        (row,) = rows_of(self._tiers.job_engine, query, ids=list(message_ids))
        if row.rows:
            lines = row.lines.encode()
            # ClickHouse forgets none of its tokens when it loses rows: the same rows sent under
            # the token of their first shipment would be dropped in silence.
            token = f"{token}:{hashlib.sha256(lines).hexdigest()}"
            with self._tiers.breakers.clickhouse.guard(is_bulk=True):
                self._tiers.job_clickhouse.insert("messages", lines, token)
            faultpoint("archive.after_reship")
        return int(row.rows)


def _words(damage: Mapping[str, str], lacking: Sequence[str]) -> str | None:
    reasons = [
        f"{count} messages differ between the tiers, and {whose} copy does not match its own hash"
        for whose, count in Counter(damage.values()).items()
    ]
    if lacking:
        reasons.append(
            f"ClickHouse lacks {len(lacking)} messages after being sent them {ROUNDS} times"
        )
    return "; ".join(reasons) or None
