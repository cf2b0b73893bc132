"""Compares every hot copy of a message with PostgreSQL. Redis has no SHA-256, so its records are
fetched; PostgreSQL is sent ids, versions and hashes."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from jobs.consistency.judge.copies import hot_records
from jobs.consistency.judge.integrity import DataIntegrityValidator
from jobs.consistency.report import Compared, Difference, Scope
from models import codec, ids
from models.message import Message
from models.records import address_of
from storage.postgres.driver import rows_of
from storage.redis import keys
from storage.redis.driver import RedisGateway
from storage.resilience.bites import batches
from storage.tiers import Tiers

ROWS_AT_ONCE = 2_000

_OTHERWISE = """
SELECT r.id::text FROM json_to_recordset(CAST(:rows AS json)) AS r (
    id uuid, version bigint, hash text, gone boolean)
LEFT JOIN messages m ON m.id = r.id
WHERE m.id IS NULL OR m.version <> r.version OR m.content_hash <> r.hash
   OR (m.deleted_at IS NOT NULL) <> r.gone
"""


def compare(tiers: Tiers, scope: Scope) -> Compared:
    """Compares all hot copies of a scope. Raises `TierError`."""
    found = Compared()
    for batch in scan(tiers.redis_door, keys.EVERY_MESSAGE, ROWS_AT_ONCE):
        found = found.joined(_compare(tiers, batch, scope))
    return found


def _compare(tiers: Tiers, batch: Sequence[str], scope: Scope) -> Compared:
    rows: list[dict[str, Any]] = []
    suspects: set[str] = set()
    misplaced: list[Difference] = []
    copies = 0
    for key, hot in hot_records(tiers.redis_door, batch).items():
        message_id = key.rpartition(":")[2]
        copy = DataIntegrityValidator.record(hot.record, message_id)
        if not _is_in(scope, copy.message, hot.record):
            continue
        copies += 1
        is_id = ids.is_id(message_id)
        if not is_id or key != keys.message(tiers.redis.slot_of_message(message_id), message_id):
            misplaced.append(Difference("redis-postgresql", "redis", "misplaced", key))
        elif copy.message is None or copy.flaw or not hot.has_ttl:
            suspects.add(message_id)
        else:
            one = copy.message
            row = {"id": one.id, "version": one.version, "hash": one.content_hash}
            rows.append(row | {"gone": one.deleted_at is not None})
    if rows:
        # Those that PostgreSQL has otherwise, or not at all.
        unlike = rows_of(tiers.job_engine, _OTHERWISE, rows=codec.text(rows))
        suspects |= {row.id for row in unlike}
    return Compared(copies, frozenset(suspects), tuple(misplaced))


def _is_in(scope: Scope, message: Message | None, record: bytes) -> bool:
    if scope.is_whole:
        return True
    if message is not None:
        return scope.holds(message.user_id, message.thread_id)
    address = address_of("message", record)
    return scope.holds(address.user_id or "", address.thread_id or "")


def scan(door: RedisGateway, pattern: str, count: int) -> Iterator[list[str]]:
    """The keys of Redis that match, in batches; each once, however often SCAN gives it."""
    seen: set[str] = set()
    for names in batches(chain.from_iterable(door.scan(pattern)), count):
        fresh = [name for name in dict.fromkeys(names) if name not in seen]
        seen.update(fresh)
        yield fresh
