"""What ClickHouse knows of everything, read in pages that are each one bounded answer.

Rows are JSON lines from one database to the other: nothing is parsed on the way but the end of a
page, which is where the next one begins.
"""

import msgspec

from models import ids
from models.message import Message
from storage.clickhouse.driver import ClickHouse, literal
from storage.clickhouse.rows import LATEST_US

PAGE_ROWS = 10_000
_COLUMNS = ", ".join(Message.__struct_fields__)

# Tombstones, which the first part does not see, were messages once.
_THREADS = """
SELECT user_id, thread_id, sum(live) AS messages, min(since) AS first, max(until) AS last FROM (
    SELECT user_id, thread_id, count() AS live, min(created_at) AS since,
           max(created_at) AS until
    FROM messages FINAL GROUP BY user_id, thread_id
    UNION ALL
    SELECT user_id, thread_id, 0, min(created_at), max(created_at)
    FROM messages GROUP BY user_id, thread_id
) GROUP BY user_id, thread_id ORDER BY user_id, thread_id
"""


class Position(msgspec.Struct, frozen=True):
    """How far the messages were read: the last row's place in ClickHouse's order."""

    user_id: str
    thread_id: str
    created_at: str
    id: str

    @property
    def month(self) -> int:
        """The row's month, as 202611."""
        return int(self.created_at[:4] + self.created_at[5:7])


class ClickHouseSource:
    """Reads newest versions, tombstones included. Errors leave as `TierError`."""

    def __init__(self, server: ClickHouse) -> None:
        self._server = server

    def months(self, boundary: str) -> dict[int, int]:
        """The months (as 202611) that hold messages with ids from a boundary on, newest first,
        with how many rows, older versions included."""
        query = (
            f"SELECT toYYYYMM(created_at) AS month, count() AS rows FROM messages"  # noqa: S608
            f" WHERE {_not_before(boundary)} GROUP BY month ORDER BY month DESC"
        )
        return {int(row.month): int(row.rows) for row in self._server.rows(query)}

    def weeks(self) -> list[str]:
        """The Mondays (as 2026-11-16) of the weeks that hold messages."""
        query = "SELECT DISTINCT toString(toStartOfWeek(created_at, 1)) AS monday FROM messages"
        return [str(row.monday) for row in self._server.rows(query)]

    def page(self, month: int, boundary: str, after: Position | None) -> list[bytes]:
        """The next rows of a month, as JSON; all of them after a row of another month."""
        beyond = ""
        if after is not None and after.month == month:
            beyond = f"AND (user_id, thread_id, created_at, id) > {_place(after)}"
        return self._lines(
            f"SELECT {_COLUMNS} FROM messages"  # noqa: S608
            f" WHERE toYYYYMM(created_at) = {month} AND {_not_before(boundary)} {beyond}"
            " ORDER BY user_id, thread_id, created_at, id, version DESC, archived_at DESC"
            f" LIMIT 1 BY id LIMIT {PAGE_ROWS}"
        )

    def named(self, names: list[str]) -> list[bytes]:
        """These messages, as JSON."""
        wanted = ", ".join(map("'{}'".format, names))
        return self._lines(
            f"SELECT {_COLUMNS} FROM messages WHERE id IN ({wanted})"  # noqa: S608
            " ORDER BY id, version DESC, archived_at DESC LIMIT 1 BY id"
        )

    def threads(self) -> list[bytes]:
        """For each thread, as JSON, how many live messages it has and when the first and
        the last were made."""
        return self._lines(_THREADS)

    def audit(self, after: tuple[str, str] | None) -> list[bytes]:
        """The next entries of the audit trail, as JSON."""
        beyond = (
            f"WHERE (at, id) > (toDateTime64('{after[0]}', 6, 'UTC'), toUUID('{after[1]}'))"
            if after
            else ""
        )
        return self._lines(
            f"SELECT id, at, actor, action, subject, counts, details FROM audit_trail {beyond}"  # noqa: S608
            f" ORDER BY at, id LIMIT 1 BY id LIMIT {PAGE_ROWS}"
        )

    def _lines(self, query: str) -> list[bytes]:
        # Text holds no line feed of its own: JSON escapes it.
        return self._server.lines(query).splitlines()


def _not_before(boundary: str) -> str:
    if boundary == ids.LOWEST:
        return "true"
    # A boundary is the first moment of a week, where the order of ids is the order of times.
    moment_us = min(ids.time_us_of(boundary), LATEST_US)
    return f"created_at >= fromUnixTimestamp64Micro(toInt64({moment_us}), 'UTC')"


def _place(position: Position) -> str:
    return (
        f"({literal(position.user_id)}, {literal(position.thread_id)},"
        f" toDateTime64('{position.created_at}', 6, 'UTC'), toUUID('{position.id}'))"
    )
