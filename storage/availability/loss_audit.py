"""What this process acknowledged from Redis lately, to name what is lost with a Redis.

After each restart of Redis, which may lack its last moments, this process looks for it, and logs,
counts and keeps the ids of what is gone.
"""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import structlog
from sqlalchemy import Engine

from storage.availability import hidden
from storage.errors import TierError, TierUnavailable
from storage.postgres.acting import act_for
from storage.postgres.backlog import is_unfinished
from storage.postgres.driver import execute, transact, translated
from storage.redis.messages import RedisTier
from storage.redis.unpersisted import UnpersistedWrites
from storage.resilience.bites import batches
from storage.resilience.periodic import PeriodicThread

log = structlog.get_logger(__name__)

KEPT = 50_000
"""Acknowledgements that a process remembers: some ten seconds at its fastest, about 10 MB."""
BATCH = 500
SHOWN = 20
PAUSE_SECONDS = 1.0
SEARCHED_SECONDS = 3_600.0
"""After this long without an answer the search is given up."""

_VERSIONS = "SELECT id::text AS id, version FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))"
_KEEP = """
INSERT INTO lost_acknowledgements (message_id, version)
SELECT message_id, version FROM json_to_recordset(CAST(:lost AS json)) AS r (
    message_id uuid, version bigint)
ON CONFLICT DO NOTHING
"""


class _Noted(msgspec.Struct, frozen=True, gc=False):
    id: str
    version: int
    user_id: str
    thread_id: str


class LossAudit:
    """The last acknowledgements of this process. Safe for threads."""

    def __init__(self, redis: RedisTier, engine: Engine) -> None:
        self._redis = redis
        self._unpersisted = UnpersistedWrites(redis)
        self._engine = engine
        self._acknowledged: deque[_Noted] = deque(maxlen=KEPT)
        self._search_until = float("-inf")
        self._thread = PeriodicThread(
            "lost-and-found",
            self._search,
            lambda: PAUSE_SECONDS,
            "lost_not_searched",
            on_failure=self._end_search,
            is_wanted=lambda: time.monotonic() < self._search_until,
        )

    def note(self, user_id: str, thread_id: str, message_id: str, version: int) -> None:
        """Remembers that Redis took a version of a message in a user's thread."""
        self._acknowledged.append(_Noted(message_id, version, user_id, thread_id))

    def schedule(self) -> None:
        """Has a thread look for everything remembered, once Redis and PostgreSQL answer."""
        self._search_until = time.monotonic() + SEARCHED_SECONDS
        self._thread.begin()

    def lost(self) -> list[tuple[str, int]]:
        """What is remembered and in neither tier. Raises `TierError`."""
        return [
            (one.id, one.version)
            for batch in batches(list(self._acknowledged), BATCH)
            for one in self._missing(batch)
        ]

    def _search(self) -> None:
        with suppress(TierError):
            self._report(self.lost())
            self._end_search()

    def _end_search(self) -> None:
        self._search_until = float("-inf")

    def _missing(self, batch: Sequence[_Noted]) -> list[_Noted]:
        # Redis first: what a drain carries on meanwhile is in PostgreSQL by the time it is asked.
        hot = self._unpersisted.copies(one.id for one in batch)
        left = [one for one in batch if one.id not in hot or hot[one.id].version < one.version]
        if not left:
            return []
        threads = {(one.user_id, one.thread_id) for one in left}
        with translated(), self._engine.begin() as connection:
            act_for(connection, (user_id for user_id, _ in threads))
            if is_unfinished(connection):
                raise TierUnavailable("postgresql", "it is being rebuilt", passing=True)
            rows = execute(connection, _VERSIONS, ids=[one.id for one in left])
            committed = {row.id: int(row.version) for row in rows}
            marks = hidden.known(connection, self._redis, threads)
        return [
            one
            for one in left
            if committed.get(one.id, 0) < one.version
            # What went with its thread or its user was not lost.
            and not marks[one.user_id, one.thread_id].hide(one.id)
        ]

    def _report(self, lost: Sequence[tuple[str, int]]) -> None:
        if not lost:
            return
        log.error("acknowledged_lost", messages=len(lost), ids=[name for name, _ in lost[:SHOWN]])
        given = [{"message_id": name, "version": version} for name, version in lost]
        transact(self._engine, execute, _KEEP, lost=msgspec.json.encode(given).decode())
