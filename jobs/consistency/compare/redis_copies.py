"""Every hot copy of a message against PostgreSQL, a batch at a time.

Redis hands the records out whole, since it knows no SHA-256; PostgreSQL is told ids, versions and
hashes, and answers with the ids that it has otherwise.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Engine, text

from jobs.consistency.judge.copies import KEYS_AT_ONCE
from jobs.consistency.judge.integrity import DataIntegrityValidator
from jobs.consistency.report import Difference, Scope
from models import ids
from models.message import Message
from models.records import address_of
from storage.postgres.driver import translated
from storage.redis import keys
from storage.redis.driver import RedisGateway
from storage.redis.messages import RedisTier

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


class HotCompared(NamedTuple):
    """How many copies were compared, the ids of those that may be wrong, and what lies under a
    key that nobody reads."""

    copies: int
    suspects: set[str]
    misplaced: list[Difference]


class _Hot(NamedTuple):
    key: str
    record: bytes
    has_ttl: bool


class HotComparison:
    """Goes through Redis by SCAN, in small steps that nobody notices."""

    def __init__(
        self,
        door: RedisGateway,
        redis: RedisTier,
        engine: Engine,
        validator: DataIntegrityValidator,
    ) -> None:
        self._door = door
        self._redis = redis
        self._engine = engine
        self._validator = validator

    def compare(self, scope: Scope) -> HotCompared:
        """All hot copies of a scope. Raises `TierError`."""
        found = HotCompared(0, set(), [])
        for batch in scan(self._door, EVERY_MESSAGE, ROWS_AT_ONCE):
            step = self._batch(batch, scope)
            found = HotCompared(
                found.copies + step.copies,
                found.suspects | step.suspects,
                found.misplaced + step.misplaced,
            )
        return found

    def _batch(self, batch: Sequence[str], scope: Scope) -> HotCompared:
        rows: list[dict[str, Any]] = []
        suspects: set[str] = set()
        misplaced: list[Difference] = []
        copies = 0
        for hot in self._records(batch):
            message_id = hot.key.rpartition(":")[2]
            copy = self._validator.record(hot.record, message_id)
            if not self._is_in(scope, copy.message, hot.record):
                continue
            copies += 1
            if not self._is_in_place(hot.key, message_id):
                misplaced.append(_misplaced(hot.key))
            elif copy.message is None or copy.flaw or not hot.has_ttl:
                suspects.add(message_id)
            else:
                rows.append(_row(copy.message))
        return HotCompared(copies, suspects | self._otherwise(rows), misplaced)

    def _records(self, names: Sequence[str]) -> Iterator[_Hot]:
        for at in range(0, len(names), KEYS_AT_ONCE):
            batch = names[at : at + KEYS_AT_ONCE]
            with self._door.guarded() as client:
                pipeline: Any = client.pipeline(transaction=False)
                for name in batch:
                    pipeline.get(name)
                    pipeline.ttl(name)
                answers = pipeline.execute()
            for name, record, ttl in zip(batch, answers[::2], answers[1::2], strict=True):
                if record is not None:
                    yield _Hot(name, record, ttl != -1)

    def _is_in_place(self, key: str, message_id: str) -> bool:
        if not ids.is_id(message_id):
            return False
        return key == keys.message(self._redis.slot_of_message(message_id), message_id)

    def _otherwise(self, rows: list[dict[str, Any]]) -> set[str]:
        if not rows:
            return set()
        values = {"rows": msgspec.json.encode(rows).decode()}
        with translated(), self._engine.connect() as connection:
            return set(connection.execute(_OTHERWISE, values).scalars())

    def _is_in(self, scope: Scope, message: Message | None, record: bytes) -> bool:
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


def _misplaced(key: str) -> Difference:
    return Difference(pair="redis-postgresql", tier="redis", kind="misplaced", id=key)
