"""What this process acknowledged from Redis lately, to name what a Redis that was lost took along.

A message that is younger than the next drain is on Redis's disk alone. Where that disk is lost, or
a replica without the last moments takes over, nobody has it any more; but nobody may be left to
believe that it is there. So whoever acknowledged it looks for it after each restart of Redis, and
what is nowhere is logged, counted and kept by its id.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
import structlog
from sqlalchemy import Engine, text

from models import codec, ids
from storage.availability import hidden
from storage.errors import TierError, TierUnavailable
from storage.postgres.backlog import is_unfinished
from storage.postgres.driver import translated
from storage.redis.driver import RedisGateway
from storage.redis.messages import RedisTier

log = structlog.get_logger(__name__)

KEPT = 50_000
"""Acknowledgements that a process remembers: some ten seconds at its fastest, about 10 MB."""
BATCH = 500
SHOWN = 20
ATTEMPTS = 3_600
PAUSE_SECONDS = 1.0

_VERSIONS = text(
    "SELECT id::text AS id, version FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))"
)
_KEEP = text(
    """
INSERT INTO lost_acknowledgements (message_id, version)
SELECT message_id, version FROM json_to_recordset(CAST(:lost AS json)) AS r (
    message_id uuid, version bigint)
ON CONFLICT DO NOTHING
"""
)


class _Noted(NamedTuple):
    id: str
    version: int
    user_id: str
    thread_id: str


class LossAudit:
    """The last acknowledgements of this process. Safe for threads."""

    def __init__(self, door: RedisGateway, redis: RedisTier, engine: Engine) -> None:
        self._door = door
        self._redis = redis
        self._engine = engine
        self._acknowledged: deque[_Noted] = deque(maxlen=KEPT)
        self._searching = threading.Lock()

    def note(self, user_id: str, thread_id: str, message_id: str, version: int) -> None:
        """Remembers that Redis took a version of a message in a user's thread."""
        self._acknowledged.append(_Noted(message_id, version, user_id, thread_id))

    def schedule(self) -> None:
        """Has a thread look for everything remembered, once Redis and PostgreSQL answer."""
        threading.Thread(target=self._search, name="lost-and-found", daemon=True).start()

    def lost(self) -> list[tuple[str, int]]:
        """What is remembered and in neither tier. Raises `TierError`."""
        remembered = iter(list(self._acknowledged))
        missing: list[_Noted] = []
        while batch := list(islice(remembered, BATCH)):
            missing += self._missing(batch)
        return [(one.id, one.version) for one in missing]

    def _search(self) -> None:
        if not self._searching.acquire(blocking=False):
            return
        try:
            for _ in range(ATTEMPTS):
                try:
                    self._tell(self.lost())
                except TierError:
                    time.sleep(PAUSE_SECONDS)
                else:
                    return
        finally:
            self._searching.release()

    def _missing(self, batch: Sequence[_Noted]) -> list[_Noted]:
        # Redis first: what a drain carries on meanwhile is in PostgreSQL by the time it is asked.
        found = self._hot(one.id for one in batch)
        left = [one for one in batch if found.get(one.id, 0) < one.version]
        if not left:
            return []
        with translated(), self._engine.connect() as connection:
            if is_unfinished(connection):
                raise TierUnavailable("postgresql", "it is being made anew", passing=True)
            rows = connection.execute(_VERSIONS, {"ids": [one.id for one in left]})
            committed = {row.id: int(row.version) for row in rows}
            marks = hidden.known(
                connection,
                self._door,
                self._redis.slots,
                {(one.user_id, one.thread_id) for one in left},
            )
        return [
            one
            for one in left
            if committed.get(one.id, 0) < one.version
            # What went with its thread or its user was not lost.
            and not marks[one.user_id, one.thread_id].hide(one.id)
        ]

    def _hot(self, message_ids: Iterable[str]) -> dict[str, int]:
        by_slot: dict[int, list[str]] = {}
        for name in message_ids:
            by_slot.setdefault(ids.shard_in(name) % self._redis.slots, []).append(name)
        records = [
            record
            for slot, names in by_slot.items()
            for record in self._redis.messages(slot, names)
            if record is not None
        ]
        return {one.id: one.version for one in map(codec.decode, records)}

    def _tell(self, lost: Sequence[tuple[str, int]]) -> None:
        if not lost:
            return
        log.error("acknowledged_lost", messages=len(lost), ids=[name for name, _ in lost[:SHOWN]])
        given = [{"message_id": name, "version": version} for name, version in lost]
        with translated(), self._engine.begin() as connection:
            connection.execute(_KEEP, {"lost": msgspec.json.encode(given).decode()})
