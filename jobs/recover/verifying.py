"""Proves by checksums of slices that PostgreSQL has every version that ClickHouse has, and loads
what it lacks."""

from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Engine

from jobs.recover.clickhouse_source import ClickHouseSource
from jobs.recover.loading import load
from models import ids
from storage.clickhouse import fingerprints
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.fingerprints import Cut
from storage.postgres.driver import translated

SHARES = 16
BATCH = 500


def verify_month(engine: Engine, server: ClickHouse, month: int, boundary: str) -> tuple[int, int]:
    """How many rows of a month (as 202611) were compared, and how many PostgreSQL lacked.

    Safe to repeat, and beside live traffic: newer versions are as good. Raises `TierError`.
    """
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
    names = iter(lacking)
    while batch := list(islice(names, BATCH)):
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
