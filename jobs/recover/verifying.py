"""Looks whether PostgreSQL has every version that ClickHouse has, by checksums of slices, and
loads once more what it lacks."""

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Engine

from jobs.recover.clickhouse_source import ClickHouseSource, json_array
from jobs.recover.loading import load
from models import ids
from storage.clickhouse import fingerprints
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.fingerprints import Cut, SliceKey
from storage.postgres.driver import translated
from storage.resilience.retries import retry_until_available

SHARES = 16
BATCH = 500


class Verifier:
    """Compares month by month. Safe to repeat, and beside live traffic: newer is as good."""

    def __init__(self, engine: Engine, server: ClickHouse) -> None:
        self._engine = engine
        self._server = server
        self._source = ClickHouseSource(server)

    def run(self, months: list[int], boundary: str) -> Iterator[tuple[int, int]]:
        """Yields for each month how many rows were compared, and how many PostgreSQL lacked."""
        for month in months:
            yield retry_until_available(self._month, month, boundary)

    def _month(self, month: int, boundary: str) -> tuple[int, int]:
        cut = _cut(month, boundary)
        theirs = fingerprints.clickhouse_slices(self._server, cut)
        with translated(), self._engine.connect() as connection:
            mine = fingerprints.postgres_slices(connection, cut)
        differing = [key for key, found in theirs.items() if mine.get(key) != found]
        lacking = self._lacking(cut, differing)
        for start in range(0, len(lacking), BATCH):
            page = self._source.named(lacking[start : start + BATCH])
            with translated(), self._engine.begin() as connection:
                load(connection, json_array(page.lines))
        return sum(found.rows for found in theirs.values()), len(lacking)

    def _lacking(self, cut: Cut, differing: list[SliceKey]) -> list[str]:
        theirs = fingerprints.clickhouse_rows(self._server, cut, differing)
        with translated(), self._engine.connect() as connection:
            mine = fingerprints.postgres_rows(connection, cut, differing)
        return [
            name
            for name, mark in theirs.items()
            if name not in mine or mine[name].version < mark.version
        ]


def _cut(month: int, boundary: str) -> Cut:
    year, number = divmod(month, 100)
    begin = datetime(year, number, 1, tzinfo=UTC)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    low_ms = max(ids.time_us(begin), ids.time_us_of(boundary)) // 1000
    return Cut(low_ms=low_ms, high_ms=ids.time_us(end) // 1000, shares=SHARES)
