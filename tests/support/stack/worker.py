"""A worker that stands still without holding anything in PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from selftest.bed.stack import Testbed
from support.waiting import eventually

_HELD_UP = text(
    """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
AND state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - interval '100 ms'
"""
)


@contextmanager
def frozen_worker(bed: Testbed) -> Iterator[None]:
    """Nothing is drained in the block.

    A worker stopped amid a transaction would keep its locks, which is another fault.
    """
    frozen = eventually(lambda: _freeze(bed), 60)
    try:
        yield
    finally:
        bed.thaw(frozen)


def _freeze(bed: Testbed) -> list[int]:
    frozen = bed.freeze("worker")
    for _ in range(2):
        with bed.services.tiers.job_engine.connect() as connection:
            held_up = connection.execute(_HELD_UP).scalar_one()
            connection.execute(text("SELECT pg_sleep(0.15)"))
        if held_up:
            bed.thaw(frozen)
            return []
    return frozen
