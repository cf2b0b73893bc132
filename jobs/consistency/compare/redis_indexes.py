"""The indexes of threads in Redis: what they say is whole must be whole.

Above its floor an index claims to list every live message of its thread. PostgreSQL counts and
sums what it has there; only the threads where that differs are fetched. Two more things are
looked at in Redis itself: a copy above the floor that the index leaves out, and an entry that has
no copy anywhere.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
from sqlalchemy import text

from jobs.consistency.compare.redis_copies import scan
from jobs.consistency.judge.in_flight import flights
from jobs.consistency.report import Difference, Kind, Scope
from models import ids
from storage.availability import hidden
from storage.postgres.driver import translated
from storage.postgres.tombstones import HIDDEN
from storage.redis import keys
from storage.redis.messages import DISTRUST_MARK
from storage.tiers import Tiers

INDEXES_AT_ONCE = 100
POLL_SECONDS = 0.05

_SUMS = text(
    f"""
SELECT r.key, max(greatest(t.deleted_through, e.erased_through)::text) AS hidden_through,
       count(m.id) AS live,
       coalesce(sum(('x' || right(m.id::text, 12))::bit(48)::bigint), 0) AS checksum
FROM json_to_recordset(CAST(:rows AS json)) AS r (key text, user_id text, thread_id text, low uuid)
LEFT JOIN threads t ON t.user_id = r.user_id AND t.id = r.thread_id
LEFT JOIN user_erasures e ON e.user_id = r.user_id
LEFT JOIN messages m ON m.user_id = r.user_id AND m.thread_id = r.thread_id AND m.id >= r.low
     AND m.deleted_at IS NULL AND NOT {HIDDEN}
GROUP BY r.key
"""  # noqa: S608
)
_IDS = text(
    """
SELECT m.id::text AS id, m.deleted_at IS NOT NULL AS gone FROM messages m
WHERE m.user_id = :user_id AND m.thread_id = :thread_id AND m.id >= :low
"""
)


class Index(NamedTuple):
    """One index: whose it is, from which id on it is complete, and what it lists."""

    key: str
    user_id: str
    thread_id: str
    floor: str
    names: tuple[str, ...]


class IndexComparison:
    """Compares all indexes; something is named when two looks find it."""

    def __init__(self, tiers: Tiers, carry: Callable[[], None]) -> None:
        self._tiers = tiers
        self._carry = carry

    def compare(self, scope: Scope, boundary: str) -> tuple[int, list[Difference]]:
        """How many indexes there are, and what is wrong with them. Raises `TierError`."""
        compared = 0
        suspects: list[str] = []
        for names in scan(self._tiers.redis_door, keys.EVERY_INDEX, INDEXES_AT_ONCE):
            indexes = [one for one in self._read(names) if scope.holds(one.user_id, one.thread_id)]
            compared += len(indexes)
            suspects += [one.key for one in self._unlike(indexes, boundary)]
        first = self._differences(suspects, boundary)
        if not first:
            return compared, []
        self._carry()
        time.sleep(POLL_SECONDS)
        again = set(self._differences(suspects, boundary))
        return compared, [one for one in first if one in again]

    def _read(self, names: Sequence[str]) -> Iterator[Index]:
        """The indexes that claim something, of these keys."""
        with self._tiers.redis_door.guarded() as client:
            pipeline: Any = client.pipeline(transaction=False)
            for name in names:
                pipeline.zrange(name, 0, -1)
            answers = pipeline.execute(raise_on_error=False)
        for name, members in zip(names, answers, strict=True):
            listed = [one.decode() for one in members] if isinstance(members, list) else []
            if (
                listed
                and listed[0].startswith("!")
                and not listed[0].startswith(f"!{DISTRUST_MARK}")
            ):
                _, _, user_id, thread_id, _ = name.split(":")
                yield Index(
                    name, unquote(user_id), unquote(thread_id), listed[0][1:], tuple(listed[1:])
                )

    def _unlike(self, indexes: Sequence[Index], boundary: str) -> list[Index]:
        """Those that list something else than PostgreSQL has, or what Redis has no copy of."""
        if not indexes:
            return []
        rows = [
            {
                "key": one.key,
                "user_id": one.user_id,
                "thread_id": one.thread_id,
                "low": _low(one, boundary),
            }
            for one in indexes
        ]
        values = {"rows": msgspec.json.encode(rows).decode()}
        with translated(), self._tiers.job_engine.connect() as connection:
            sums = {row.key: row for row in connection.execute(_SUMS, values)}
        unlike = []
        for one in indexes:
            sum_of = sums[one.key]
            low, mark = _low(one, boundary), sum_of.hidden_through or ""
            listed = [name for name in one.names if name >= low and name > mark]
            checksum = sum(int(name[-12:], 16) for name in listed)
            if (len(listed), checksum) != (sum_of.live, int(sum_of.checksum)):
                unlike.append(one)
        return unlike

    def _differences(self, names: Sequence[str], boundary: str) -> list[Difference]:
        found: list[Difference] = []
        for at in range(0, len(names), INDEXES_AT_ONCE):
            for index in self._read(names[at : at + INDEXES_AT_ONCE]):
                found += self._of(index, boundary)
        return found

    def _of(self, index: Index, boundary: str) -> list[Difference]:
        low = _low(index, boundary)
        tiers = self._tiers
        values = {"user_id": index.user_id, "thread_id": index.thread_id, "low": low}
        with translated(), tiers.job_engine.connect() as connection:
            rows = connection.execute(_IDS, values).all()
            there = {row.id for row in rows}
            live = {row.id for row in rows if not row.gone}
            thread = (index.user_id, index.thread_id)
            marks = hidden.known(connection, tiers.redis_door, tiers.redis.slots, [thread])
            listed = {name for name in index.names if name >= low}
            unlisted = {name for name in live - listed if not marks[thread].hide(name)}
            unknown = self._without_copy(index, sorted(listed - there))
            moving = flights(
                connection, tiers.job_clickhouse, tiers.pending_log, unlisted | unknown
            ).moving
        return [_difference("unlisted", index, name) for name in sorted(unlisted - moving)] + [
            _difference("phantom", index, name) for name in sorted(unknown - moving)
        ]

    def _without_copy(self, index: Index, names: Sequence[str]) -> set[str]:
        slot = self._tiers.redis.slot_of_thread(index.user_id, index.thread_id)
        records = self._tiers.redis.messages(slot, names)
        return {name for name, record in zip(names, records, strict=True) if record is None}


def _low(index: Index, boundary: str) -> str:
    """From where on both must list the same."""
    return max(index.floor, boundary, ids.LOWEST)


def _difference(kind: Kind, index: Index, message_id: str) -> Difference:
    return Difference(
        pair="redis-postgresql",
        tier="redis",
        kind=kind,
        id=message_id,
        user_id=index.user_id,
        thread_id=index.thread_id,
    )
