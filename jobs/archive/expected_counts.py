"""How many messages ClickHouse must have at least, of those that it alone has. An archived row may
get newer versions, but stays a row. An erasure lowers the figure first: after a crash in between it
is too low, and nothing is reported lost that is not."""

from sqlalchemy import Connection, Engine

from jobs.archive.proof import SHARES
from models import codec
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.fingerprints import WEEK_MS, Cut, SliceKey, clickhouse_counts
from storage.postgres.driver import execute, transact

CUT = Cut(width_ms=WEEK_MS, shares=SHARES)
"""How the archive cuts what it proves."""

_EXPECTED = """
SELECT s.period, s.share, max(s.clickhouse_rows) AS rows
FROM archive_slices s JOIN archive_units u ON u.id = s.unit_id
WHERE u.detached_at IS NOT NULL GROUP BY s.period, s.share
"""
_LOWER = """
UPDATE archive_slices s SET clickhouse_rows = greatest(0, s.clickhouse_rows - r.rows)
FROM json_to_recordset(CAST(:gone AS json)) AS r (period bigint, share integer, rows bigint)
WHERE s.period = r.period AND s.share = r.share
"""


def expected(connection: Connection) -> dict[SliceKey, int]:
    """The least rows, tombstones included, of each slice of which anything was archived."""
    rows = execute(connection, _EXPECTED).all()
    return {SliceKey(int(row.period), int(row.share)): int(row.rows) for row in rows}


def lower_expected(engine: Engine, server: ClickHouse, condition: str) -> None:
    """Notes that the rows of ClickHouse's `messages` that meet a condition are about to be erased.
    Raises `TierError`."""
    found = clickhouse_counts(server, CUT, condition)
    gone = [{**key._asdict(), "rows": rows} for key, rows in found.items()]
    if gone:
        transact(engine, execute, _LOWER, gone=codec.text(gone))
