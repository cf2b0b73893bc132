"""A user's part of ClickHouse: every table that names a user, found in the catalogue. Rows go by
mutations, which rewrite the parts: the old ones stay a few minutes, where no query sees them."""

from typing import NamedTuple

import msgspec

from jobs.archive.expected_counts import lower_expected
from jobs.erase.receipt import Target, UserErasure
from jobs.replicate.row_outbox import RowCopies
from models import codec
from storage.clickhouse.driver import EVERY_ROW, literal
from storage.tiers import Tiers

_TABLES = """
SELECT table, anyIf(name, type = 'UUID' AND name IN ('id', 'message_id')) AS key
FROM system.columns
WHERE database = currentDatabase() AND table IN (
    SELECT name FROM system.tables
    WHERE database = currentDatabase() AND endsWith(engine, 'MergeTree'))
GROUP BY table HAVING countIf(name = 'user_id') > 0 AND table <> 'user_erasures'
ORDER BY table
"""
_OLD_PARTS = """
SELECT count() FROM system.parts
WHERE database = currentDatabase() AND NOT active AND table IN ('messages', 'direct_writes')
"""

GONE = "the parts from before are gone"


class _Table(NamedTuple):
    name: str
    key: str

    def condition(self, target: Target) -> str:
        whose = f"user_id = {literal(target.user_id)}"
        # Text compares as PostgreSQL compares ids; a UUID does not here.
        return f"{whose} AND toString({self.key}) <= '{target.through}'" if self.key else whose


class ClickHouseEraser:
    """Counts and removes what ClickHouse has of a user. Errors leave as `TierError`."""

    def __init__(self, tiers: Tiers, copies: RowCopies) -> None:
        self._engine = tiers.job_engine
        self._server = tiers.job_clickhouse
        self._copies = copies

    def note(self, erasure: UserErasure, erased_at: str) -> None:
        """Keeps the erasure here too, so that it outlives PostgreSQL."""
        names = ("user_id", "erased_through", "requested_by", "requested_at")
        row = {name: getattr(erasure, name) for name in names}
        row |= {"erased_at": erased_at, "receipt": codec.text(erasure)}
        self._server.insert("user_erasures", msgspec.json.encode(row))

    def clear(self, target: Target) -> dict[str, int]:
        """Takes out every row, whatever version it is of; gives counts by table.
        Raises `TierUnavailable`, passing, while an earlier mutation is still at work."""
        counts = self.count(target)
        for table in self._tables():
            if counts.get(table.name):
                self._delete(table, target)
        # Also where nothing names the user: dead letters do not.
        self._copies.ship()
        if counts["row_copies"] or self._copies.has_old():
            self._copies.compact()
        return counts

    def count(self, target: Target) -> dict[str, int]:
        """Counts by table what is there, hidden rows included."""
        found = {table.name: self._count(table, target) for table in self._tables()}
        return found | {"row_copies": self._copies.of_user(target.user_id, target.moment)}

    def old_parts(self) -> str:
        """Whether parts that a mutation or a merge has replaced are still on disk."""
        old = self._server.number(_OLD_PARTS)
        return f"{old} parts from before are about to go" if old else GONE

    def _delete(self, table: _Table, target: Target) -> None:
        condition = table.condition(target)
        if table.name == "messages":
            lower_expected(self._engine, self._server, condition)
        self._server.mutate(table.name, f"DELETE WHERE {condition}")
        if self._count(table, target):
            # What a lightweight delete had hidden, a mutation passes over.
            self._server.mutate(table.name, "APPLY DELETED MASK")

    def _tables(self) -> list[_Table]:
        return [_Table(*row) for row in self._server.rows(_TABLES)]

    def _count(self, table: _Table, target: Target) -> int:
        query = f"SELECT count() FROM {table.name} WHERE {table.condition(target)} {EVERY_ROW}"  # noqa: S608
        return self._server.number(query)
