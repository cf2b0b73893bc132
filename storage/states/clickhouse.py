"""States in ClickHouse: copies of PostgreSQL's rows, read while no other tier has them."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from models.state import Checkpoint, Level, StateName, StateRecord, StoredCheckpoint
from storage.clickhouse.driver import ClickHouse, literal
from storage.postgres.driver import record_of, rfc3339
from storage.resilience.breaker import Breaker

_STATE = """
SELECT row FROM row_copies FINAL
WHERE table_name = 'state_records' AND key = {key} AND is_deleted = 0
"""
_ERASED = "SELECT toString(max(erased_at)) AS row FROM user_erasures WHERE user_id = {user}"
_CHECKPOINTS = """
SELECT row FROM row_copies FINAL
WHERE table_name = 'checkpoints' AND startsWith(key, {prefix}) AND is_deleted = 0
  AND JSONExtractUInt(key, 3) > {after} AND JSONExtractUInt(key, 3) < {before}
ORDER BY JSONExtractUInt(key, 3) DESC LIMIT {count}
"""


class _Line(msgspec.Struct):
    row: str


class _CheckpointRow(msgspec.Struct):
    version: int
    checkpoint: Level = msgspec.field(name="level")
    created_at: datetime
    state: msgspec.Raw

    @property
    def size_bytes(self) -> int:
        return len(bytes(self.state))


class StateCopies:
    """Reads of copied states. Errors leave as `TierUnavailable`, `TierRejected`."""

    def __init__(
        self, server: ClickHouse, breaker: Breaker, ship: Callable[[str, list[int]], object]
    ) -> None:
        """`ship` returns once the queued copies of a user with these numbers are in ClickHouse."""
        self._server = server
        self._breaker = breaker
        self.ship = ship

    def load(self, whose: StateName) -> StateRecord | None:
        """The copied version, or a tombstone, also where its user was erased; None for none."""
        found = self._rows(_STATE.format(key=literal(_key(*whose))))
        if not found:
            return None
        fields = msgspec.json.decode(found[0], type=dict[str, msgspec.Raw])
        for name in ("updated_at", "expires_at", "deleted_at"):
            fields[name] = msgspec.Raw(msgspec.json.encode(_moment(fields[name])))
        record = msgspec.json.decode(msgspec.json.encode(fields), type=StateRecord)
        (erased_at,) = self._rows(_ERASED.format(user=literal(whose.user_id)))
        moment = datetime.fromisoformat(erased_at).replace(tzinfo=UTC)
        return record.buried() if record.updated_at <= rfc3339(moment) else record

    def checkpoints(
        self, whose: StateName, *, after: int, before: int, count: int
    ) -> list[StoredCheckpoint]:
        """Checkpoints of a run with `after` < version < `before`, newest first."""
        prefix = _key(whose.user_id, whose.name).removesuffix("]") + ", "
        query = _CHECKPOINTS.format(
            prefix=literal(prefix), after=int(after), before=int(before), count=int(count)
        )
        rows = [msgspec.json.decode(row, type=_CheckpointRow) for row in self._rows(query)]
        return [(record_of(Checkpoint, row), row.state) for row in rows]

    def _rows(self, query: str) -> list[str]:
        with self._breaker.guard():
            lines = self._server.lines(query)
        return [msgspec.json.decode(line, type=_Line).row for line in lines.splitlines()]


def _key(*values: str) -> str:
    """The key of a copy, as PostgreSQL writes it."""
    return f"[{', '.join(msgspec.json.encode(value).decode() for value in values)}]"


def _moment(value: msgspec.Raw) -> str | None:
    given = msgspec.json.decode(bytes(value), type=datetime | None)
    return rfc3339(given.astimezone(UTC)) if given else None
