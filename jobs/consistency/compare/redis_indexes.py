"""Compares the indexes of threads in Redis, each of which claims to list every live message above
its floor, with the ids that PostgreSQL has of them."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from jobs.consistency.compare.redis_copies import scan
from jobs.consistency.judge.confirmation import confirmed, in_flight
from jobs.consistency.report import Compared, Difference, Kind, Scope
from models import codec, ids
from models.hot_page import DISTRUST_MARK
from storage.availability import hidden
from storage.postgres.driver import rows_of, translated
from storage.redis import keys
from storage.resilience.bites import batches
from storage.tiers import Tiers

INDEXES_AT_ONCE = 100

_IDS = """
SELECT r.key, m.id::text AS id, m.deleted_at IS NULL AS is_live
FROM json_to_recordset(CAST(:rows AS json)) AS r (key text, user_id text, thread_id text, low uuid)
JOIN messages m ON m.user_id = r.user_id AND m.thread_id = r.thread_id AND m.id >= r.low
"""


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
        suspects += [index.key for index, _, _ in _unlike(tiers, indexes)]
    wrong = confirmed(lambda: set(_differences(tiers, suspects, boundary)), drain_pipeline)
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


def _unlike(
    tiers: Tiers, indexes: Sequence[Index]
) -> Iterator[tuple[Index, set[str], frozenset[str]]]:
    """The indexes that list something else than PostgreSQL has: with the ids that each lacks, and
    those of which PostgreSQL knows nothing."""
    rows = [one._asdict() | {"names": None} for one in indexes]
    there: dict[str, set[str]] = defaultdict(set)
    live: dict[str, set[str]] = defaultdict(set)
    for row in rows_of(tiers.job_engine, _IDS, rows=codec.text(rows)):
        there[row.key].add(row.id)
        if row.is_live:
            live[row.key].add(row.id)
    for one in indexes:
        lacking, unknown = live[one.key] - one.names, one.names - there[one.key]
        if lacking or unknown:
            yield one, lacking, unknown


def _differences(tiers: Tiers, names: Sequence[str], boundary: str) -> Iterator[Difference]:
    for batch in batches(names, INDEXES_AT_ONCE):
        for index, unlisted, unknown in _unlike(tiers, list(_read(tiers, batch, boundary))):
            thread = (index.user_id, index.thread_id)
            records = tiers.redis.messages(tiers.redis.slot_of_thread(*thread), list(unknown))
            copies = zip(unknown, records, strict=True)
            phantoms = {name for name, record in copies if record is None}
            with translated(), tiers.job_engine.connect() as connection:
                marks = hidden.known(connection, tiers.redis, [thread])[thread]
                moving = in_flight(
                    connection, tiers.job_clickhouse, tiers.pending_log, unlisted | phantoms
                ).moving
            kinds: list[tuple[Kind, set[str]]] = [("unlisted", unlisted), ("phantom", phantoms)]
            for kind, wrong in kinds:
                for name in wrong - moving:
                    if not marks.hide(name):
                        yield Difference("redis-postgresql", "redis", kind, name, *thread)
