"""How many messages ClickHouse must have at least, of those that it alone has.

A row once archived may get newer versions, a tombstone at last, but it stays a row: so what a proof
counted holds for good, but for what is erased. Who erases says so first; a crash in between makes
the figure too low, and a loss as small as that goes unnoticed, but nothing is called lost that is
not.
"""

import msgspec
from sqlalchemy import Connection, Engine, text

from jobs.archive.proof import SHARES
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.fingerprints import WEEK_MS, Cut, SliceKey, clickhouse_counts
from storage.postgres.driver import translated

CUT = Cut(width_ms=WEEK_MS, shares=SHARES)
"""How the archive cuts what it proves."""

_EXPECTED = text(
    """
SELECT s.period, s.share, max(s.clickhouse_rows) AS rows
FROM archive_slices s JOIN archive_units u ON u.id = s.unit_id
WHERE u.detached_at IS NOT NULL GROUP BY s.period, s.share
"""
)
_LOWER = text(
    """
UPDATE archive_slices s SET clickhouse_rows = greatest(0, s.clickhouse_rows - r.rows)
FROM json_to_recordset(CAST(:gone AS json)) AS r (period bigint, share integer, rows bigint)
WHERE s.period = r.period AND s.share = r.share
"""
)


def expected(connection: Connection) -> dict[SliceKey, int]:
    """The least rows, tombstones included, of each slice of which anything was archived."""
    rows = connection.execute(_EXPECTED).all()
    return {SliceKey(int(row.period), int(row.share)): int(row.rows) for row in rows}


class Expectations:
    """Lowers what is expected, for those who are about to erase."""

    def __init__(self, engine: Engine, server: ClickHouse) -> None:
        self._engine = engine
        self._server = server

    def lower(self, condition: str) -> None:
        """Takes note that the rows of `messages` in ClickHouse that meet a condition will go.

        Raises `TierError`.
        """
        found = clickhouse_counts(self._server, CUT, condition)
        gone = [{**key._asdict(), "rows": rows} for key, rows in found.items()]
        if gone:
            with translated(), self._engine.begin() as connection:
                connection.execute(_LOWER, {"gone": msgspec.json.encode(gone).decode()})
