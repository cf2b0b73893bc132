"""The lists of what is to be carried, where something stays on them for longer than it should."""

from sqlalchemy import Connection, text

from jobs.consistency.judge.in_flight import PATIENCE_SECONDS
from jobs.consistency.report import Difference

QUEUES = ("clickhouse_outbox", "redis_backfill")
_OLD = """
SELECT count(*) AS rows, extract(epoch FROM clock_timestamp() - min(queued_at)) AS age
FROM {queue} WHERE queued_at < clock_timestamp() - make_interval(secs => :seconds)"""
_DEAD_LETTERS = text("SELECT count(*) FROM dead_letters")


def waiting(connection: Connection) -> list[Difference]:
    """The lists of PostgreSQL that hold something old, although they were just emptied."""
    found = []
    for queue in QUEUES:
        query = text(_OLD.format(queue=queue))
        row = connection.execute(query, {"seconds": PATIENCE_SECONDS}).one()
        if row.rows:
            what = f"{row.rows} rows, the oldest {float(row.age):.0f} s old"
            found.append(
                Difference(pair="queues", tier="postgresql", kind="waiting", id=queue, found=what)
            )
    return found


def dead_letters(connection: Connection) -> int:
    """How many writes PostgreSQL has refused and nobody has decided on."""
    return int(connection.execute(_DEAD_LETTERS).scalar_one())
