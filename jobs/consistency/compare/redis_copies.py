"""Every hot copy of a message against PostgreSQL, a batch at a time.

Redis knows no SHA-256, so its records are fetched. PostgreSQL is sent ids, versions and hashes, and
answers with the ids that it has otherwise.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import text

from jobs.consistency.judge.copies import hot_records
from jobs.consistency.judge.integrity import DataIntegrityValidator
from jobs.consistency.report import Compared, Difference, Scope
from models import ids
from models.message import Message
from models.records import address_of
from storage.postgres.driver import translated
from storage.redis import keys
from storage.redis.driver import RedisGateway
from storage.tiers import Tiers

SCAN_KEYS = 1_000
ROWS_AT_ONCE = 2_000
EVERY_MESSAGE = "message:active:*"

_OTHERWISE = text(
    """
SELECT r.id::text FROM json_to_recordset(CAST(:rows AS json)) AS r (
    id uuid, version bigint, hash text, gone boolean)
LEFT JOIN messages m ON m.id = r.id
WHERE m.id IS NULL OR m.version <> r.version OR m.content_hash <> r.hash
   OR (m.deleted_at IS NOT NULL) <> r.gone
"""
)


class HotComparison:
    """Goes through Redis by SCAN, in small steps that nobody notices."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    def compare(self, scope: Scope) -> Compared:
        """All hot copies of a scope. Raises `TierError`."""
        found = Compared()
        for batch in scan(self._tiers.redis_door, EVERY_MESSAGE, ROWS_AT_ONCE):
            found = found.joined(self._batch(batch, scope))
        return found

    def _batch(self, batch: Sequence[str], scope: Scope) -> Compared:
        rows: list[dict[str, Any]] = []
        suspects: set[str] = set()
        misplaced: list[Difference] = []
        copies = 0
        for key, hot in hot_records(self._tiers.redis_door, batch).items():
            message_id = key.rpartition(":")[2]
            copy = DataIntegrityValidator.record(hot.record, message_id)
            if not _is_in(scope, copy.message, hot.record):
                continue
            copies += 1
            if not self._is_in_place(key, message_id):
                misplaced.append(
                    Difference(pair="redis-postgresql", tier="redis", kind="misplaced", id=key)
                )
            elif copy.message is None or copy.flaw or not hot.has_ttl:
                suspects.add(message_id)
            else:
                rows.append(_row(copy.message))
        return Compared(copies, frozenset(suspects | self._otherwise(rows)), tuple(misplaced))

    def _is_in_place(self, key: str, message_id: str) -> bool:
        if not ids.is_id(message_id):
            return False
        return key == keys.message(self._tiers.redis.slot_of_message(message_id), message_id)

    def _otherwise(self, rows: list[dict[str, Any]]) -> set[str]:
        """The ids of rows that PostgreSQL has otherwise, or not at all."""
        if not rows:
            return set()
        values = {"rows": msgspec.json.encode(rows).decode()}
        with translated(), self._tiers.job_engine.connect() as connection:
            return set(connection.execute(_OTHERWISE, values).scalars())


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
    with door.guarded() as client:
        found = client.scan_iter(match=pattern, count=SCAN_KEYS)
        while names := [name.decode() for name in islice(found, count)]:
            fresh = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(fresh)
            yield fresh


def _row(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "version": message.version,
        "hash": message.content_hash,
        "gone": message.deleted_at is not None,
    }
