"""What ClickHouse alone may know, for imports of the past: an archived message has no row in
PostgreSQL, would count twice if written there again, and come back if it has been deleted."""

from collections.abc import Iterable, Sequence

import msgspec

from models import ids
from models.appends import Held, IdRange
from models.message import Message
from storage.clickhouse.driver import batches, literal
from storage.clickhouse.fingerprints import MOST_NAMED, clickhouse_rows_of
from storage.clickhouse.rows import LATEST_US
from storage.resilience import bites
from storage.tiers import Tiers

_held = msgspec.json.Decoder(Held)


class ArchivedVersions:
    """Asks ClickHouse for the versions that it has."""

    def __init__(self, tiers: Tiers) -> None:
        self._server = tiers.job_clickhouse
        self._breaker = tiers.breakers.clickhouse

    def known(self, batch: Sequence[Message], below: str) -> set[str]:
        """The ids below a boundary that are there as new or newer. Raises `TierError`."""
        versions = {one.id: one.version for one in batch if one.id < below}
        known: set[str] = set()
        for names in bites.batches(sorted(versions), MOST_NAMED):
            with self._breaker.guard(is_bulk=True):
                rows = clickhouse_rows_of(self._server, names)
            known |= {name for name, mark in rows.items() if mark.version >= versions[name]}
        return known

    def within(self, spans: Iterable[IdRange]) -> list[Held]:
        """What there is within spans of ids. Raises `TierError`."""
        places = map(_condition, sorted(spans))
        found = []
        for some in batches(places, lambda condition: f"{condition} OR "):
            query = (
                "SELECT DISTINCT user_id, thread_id, toString(id) AS id FROM messages"  # noqa: S608
                f" WHERE {' OR '.join(some)}"
            )
            with self._breaker.guard(is_bulk=True):
                lines = self._server.lines(query)
            found += [_held.decode(line) for line in lines.split(b"\n") if line]
        return found


def _condition(span: IdRange) -> str:
    """All ids of a span have a time of its microseconds and its thread's shard."""
    low, high = (min(ids.time_us_of(name), LATEST_US) for name in (span.low, span.high))
    return (
        f"(user_id = {literal(span.user_id)} AND thread_id = {literal(span.thread_id)}"
        f" AND created_at >= fromUnixTimestamp64Micro(toInt64({low}), 'UTC')"
        f" AND created_at <= fromUnixTimestamp64Micro(toInt64({high}), 'UTC'))"
    )
