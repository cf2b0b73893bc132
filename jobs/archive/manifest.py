"""What was proven of a unit, slice by slice: rows and checksum in both tiers at the last proof."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, text

from jobs.archive.units import Unit
from storage.clickhouse.fingerprints import Slice, SliceKey

# Slices that an earlier proof had and this one has not are gone with their rows.
_FORGET = text("DELETE FROM archive_slices WHERE unit_id = :unit_id")
_SAVE = text(
    """
INSERT INTO archive_slices (unit_id, period, share, rows, checksum, clickhouse_rows,
                            clickhouse_checksum, proven_by)
SELECT :unit_id, r.* FROM json_to_recordset(CAST(:slices AS json)) AS r (
    period bigint, share integer, rows bigint, checksum numeric(20), clickhouse_rows bigint,
    clickhouse_checksum numeric(20), proven_by text)
"""
)


class ProvenSlice(NamedTuple):
    """A slice as both tiers had it, and what proved it: its `checksum`, or its `rows` one by one,
    which may be newer in ClickHouse, or more there."""

    postgres: Slice
    clickhouse: Slice
    proven_by: Literal["checksum", "rows"]


def save(connection: Connection, unit: Unit, slices: Mapping[SliceKey, ProvenSlice]) -> None:
    """Writes a unit's manifest in the caller's transaction, in place of the one before."""
    rows = [
        {
            "period": key.period,
            "share": key.share,
            "rows": one.postgres.rows,
            "checksum": str(one.postgres.checksum),
            "clickhouse_rows": one.clickhouse.rows,
            "clickhouse_checksum": str(one.clickhouse.checksum),
            "proven_by": one.proven_by,
        }
        for key, one in slices.items()
    ]
    connection.execute(_FORGET, {"unit_id": unit.id})
    values = {"unit_id": unit.id, "slices": msgspec.json.encode(rows).decode()}
    connection.execute(_SAVE, values)
