"""Counts in ClickHouse: the newest version of each message, without what is deleted."""

from collections.abc import Sequence
from typing import Any

from models.message import ROLES
from storage.analytics.figures import Counted, MessageFigures
from storage.analytics.hidden import Mark, shown
from storage.clickhouse.driver import ClickHouse, literal
from storage.clickhouse.rows import NEWEST_BY_MONTH, rfc3339
from storage.resilience.breaker import Breaker

MOST_SECONDS = 2.0
"""One query; after that ClickHouse itself gives it up, which is no outage."""

_NEWEST = f"{NEWEST_BY_MONTH}, max_execution_time = {MOST_SECONDS}"
_ROLES = ", ".join(f"countIf(role = '{role}') AS role_{role}" for role in ROLES)
_METRICS = {
    "messages": "count()",
    "threads": "uniqExact(user_id, thread_id)",
    "bytes": "sum(length(content))",
    "average_bytes": "ifNotFinite(avg(length(content)), 0)",
    "p95_bytes": "quantileTDigest(0.95)(length(content))",
    "active_users": "uniqExact(user_id)",
}
_FIGURES = ", ".join(f"{how} AS {name}" for name, how in _METRICS.items()) + (
    ", toString(min(created_at)) AS first, toString(max(created_at)) AS last"
)
_BUCKETS = {
    "minute": "toStartOfMinute(created_at)",
    "hour": "toStartOfHour(created_at)",
    "day": "toStartOfDay(created_at)",
    "week": "toDateTime(toStartOfWeek(created_at, 1), 'UTC')",
}
_SIZE = (
    "SELECT sum(bytes_on_disk) AS bytes, sum(data_uncompressed_bytes) AS plain,"
    " sum(data_compressed_bytes) AS packed FROM system.parts"
    " WHERE active AND database = currentDatabase()"
)


class ArchiveFigures:
    """The counting verbs of ClickHouse. Errors leave as the tier's."""

    def __init__(self, server: ClickHouse, breaker: Breaker) -> None:
        self._server = server
        self._breaker = breaker

    def figures(self, counted: Counted, hidden: Sequence[Mark]) -> tuple[MessageFigures, int]:
        """All figures at once, and of how many users."""
        query = f"SELECT {_FIGURES}, {_ROLES} FROM messages {_where(counted, hidden)} {_NEWEST}"  # noqa: S608
        (row,) = self._rows(query)
        by_role = {role: int(row[f"role_{role}"]) for role in ROLES}
        count = int(row["messages"])
        figures = MessageFigures(
            messages=count,
            threads=int(row["threads"]),
            by_role={role: number for role, number in by_role.items() if number},
            bytes=int(row["bytes"]),
            average_bytes=round(float(row["average_bytes"]), 1),
            p95_bytes=round(float(row["p95_bytes"])) if count else 0,
            first_message_at=rfc3339(row["first"]) if count else None,
            last_message_at=rfc3339(row["last"]) if count else None,
        )
        return figures, int(row["active_users"])

    def series(
        self, metric: str, bucket: str, counted: Counted, hidden: Sequence[Mark]
    ) -> dict[int, float]:
        """A figure by the beginning of its bucket, in seconds since 1970."""
        query = (
            f"SELECT toUnixTimestamp({_BUCKETS[bucket]}) AS at, {_METRICS[metric]} AS value"  # noqa: S608
            f" FROM messages {_where(counted, hidden)} GROUP BY at {_NEWEST}"
        )
        return {int(row["at"]): round(float(row["value"]), 1) for row in self._rows(query)}

    def arrived_at(self, counted: Counted) -> str | None:
        """When the newest of them arrived."""
        query = (
            "SELECT count() AS count, toString(max(archived_at)) AS last FROM messages"  # noqa: S608
            f" {_where(counted, ())} SETTINGS max_execution_time = {MOST_SECONDS}"
        )
        (row,) = self._rows(query)
        return rfc3339(row["last"]) if int(row["count"]) else None

    def size(self) -> tuple[int, float]:
        """Bytes on disk, and how many times smaller they are than what they hold."""
        (row,) = self._rows(_SIZE)
        return int(row["bytes"]), round(int(row["plain"]) / max(1, int(row["packed"])), 2)

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with self._breaker.guard(is_bulk=True):
            return [dict(row._mapping) for row in self._server.rows(query)]


def _where(counted: Counted, hidden: Sequence[Mark]) -> str:
    conditions = ["true"]
    if counted.user_id is not None:
        conditions.append(f"user_id = {literal(counted.user_id)}")
    if counted.role is not None:
        conditions.append(f"role = {literal(counted.role)}")
    if counted.since is not None:
        conditions.append(f"created_at >= {_moment(counted.since)}")
    if counted.until is not None:
        conditions.append(f"created_at < {_moment(counted.until)}")
    if hidden:
        conditions.append(shown(hidden))
    return f"WHERE {' AND '.join(conditions)}"


def _moment(moment: str) -> str:
    # DateTime64 ends with 2299.
    latest = min(moment, "2299-12-31T23:59:59.999999Z")
    return f"toDateTime64('{latest.rstrip('Z').replace('T', ' ')}', 6, 'UTC')"
