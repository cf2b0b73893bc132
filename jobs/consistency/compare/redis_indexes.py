"""Compares the indexes of threads in Redis, each of which claims to list every live message above
its floor, with counts and sums of PostgreSQL; only the threads that differ are fetched."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from sqlalchemy import text

from jobs.consistency.compare.redis_copies import scan
from jobs.consistency.judge.confirmation import confirmed
from jobs.consistency.judge.in_flight import in_flight
from jobs.consistency.report import Compared, Difference, Kind, Scope, redis_difference
from models import codec, ids
from storage.availability import hidden
from storage.postgres.driver import rows_of, translated
from storage.postgres.tombstones import HIDDEN
from storage.redis import keys
from storage.redis.messages import DISTRUST_MARK
from storage.resilience.bites import batches
from storage.tiers import Tiers

INDEXES_AT_ONCE = 100

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
    """One index: whose it is, from which id on it must list what PostgreSQL has, and what it
    lists from there on."""

    key: str
    user_id: str
    thread_id: str
    low: str
    names: frozenset[str]


def compare(
    tiers: Tiers, drain_pipeline: Callable[[], None], scope: Scope, boundary: str
) -> Compared:
    """Compares all indexes of a scope; something is named when two readings find it. Raises
    `TierError`."""
    compared = 0
    suspects: list[str] = []
    for names in scan(tiers.redis_door, keys.EVERY_INDEX, INDEXES_AT_ONCE):
        read = _read(tiers, names, boundary)
        indexes = [one for one in read if scope.holds(one.user_id, one.thread_id)]
        compared += len(indexes)
        suspects += _unlike(tiers, indexes)
    wrong = confirmed(lambda: _differences(tiers, suspects, boundary), drain_pipeline)
    return Compared(compared, differences=tuple(sorted(wrong, key=lambda one: one.id)))


def _read(tiers: Tiers, names: Sequence[str], boundary: str) -> Iterator[Index]:
    """The indexes that claim something, of these keys."""
    with tiers.redis_door.guarded() as client:
        pipeline: Any = client.pipeline(transaction=False)
        for name in names:
            pipeline.zrange(name, 0, -1)
        answers = pipeline.execute(raise_on_error=False)
    for name, members in zip(names, answers, strict=True):
        listed = [one.decode() for one in members] if isinstance(members, list) else []
        floor = listed[0] if listed else ""
        if floor.startswith("!") and not floor.startswith(f"!{DISTRUST_MARK}"):
            user_id, thread_id = map(unquote, name.split(":")[2:4])
            low = max(floor[1:], boundary, ids.LOWEST)
            above = frozenset(one for one in listed[1:] if one >= low)
            yield Index(name, user_id, thread_id, low, above)


def _unlike(tiers: Tiers, indexes: Sequence[Index]) -> list[str]:
    """The keys of those that list something else than PostgreSQL has."""
    if not indexes:
        return []
    rows = [
        {"key": key, "user_id": user_id, "thread_id": thread_id, "low": low}
        for key, user_id, thread_id, low, _ in indexes
    ]
    found = rows_of(tiers.job_engine, _SUMS, {"rows": codec.text(rows)})
    sums = {row.key: row for row in found}
    unlike = []
    for one in indexes:
        sum_of = sums[one.key]
        listed = [name for name in one.names if name > (sum_of.hidden_through or "")]
        checksum = sum(int(name[-12:], 16) for name in listed)
        if (len(listed), checksum) != (sum_of.live, int(sum_of.checksum)):
            unlike.append(one.key)
    return unlike


def _differences(tiers: Tiers, names: Sequence[str], boundary: str) -> set[Difference]:
    return {
        difference
        for batch in batches(names, INDEXES_AT_ONCE)
        for index in _read(tiers, batch, boundary)
        for difference in _of(tiers, index)
    }


def _of(tiers: Tiers, index: Index) -> Iterator[Difference]:
    thread = (index.user_id, index.thread_id)
    values = {"user_id": index.user_id, "thread_id": index.thread_id, "low": index.low}
    with translated(), tiers.job_engine.connect() as connection:
        rows = connection.execute(_IDS, values).all()
        there = {row.id for row in rows}
        live = {row.id for row in rows if not row.gone}
        marks = hidden.known(connection, tiers.redis, [thread])
        unlisted = {name for name in live - index.names if not marks[thread].hide(name)}
        unknown = _without_copy(tiers, index, sorted(index.names - there))
        moving = in_flight(
            connection, tiers.job_clickhouse, tiers.pending_log, unlisted | unknown
        ).moving
    kinds: list[tuple[Kind, set[str]]] = [("unlisted", unlisted), ("phantom", unknown)]
    for kind, names in kinds:
        for name in names - moving:
            yield redis_difference(kind, name, *thread)


def _without_copy(tiers: Tiers, index: Index, names: Sequence[str]) -> set[str]:
    slot = tiers.redis.slot_of_thread(index.user_id, index.thread_id)
    records = tiers.redis.messages(slot, names)
    return {name for name, record in zip(names, records, strict=True) if record is None}
