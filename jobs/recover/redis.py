"""Makes Redis reliable after an outage or a restart. Writes that bypassed it are backfilled. Before
a restarted Redis is adopted, its indexes are marked incomplete, copies of what PostgreSQL has are
dropped, and the latest Idempotency-Keys are stored."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, select

from models import codec, ids
from models.events import news_of
from models.message import Message
from models.state import StateName
from models.tables import messages
from storage.availability import hidden
from storage.availability.checks.installation import FOREIGN, RedisIdentity, identity
from storage.errors import TierRejected
from storage.postgres import idempotency
from storage.postgres import states as state_writes
from storage.postgres.driver import execute, message_of, rows_of, transact, translated
from storage.postgres.locks import try_lock
from storage.redis import keys
from storage.resilience.bites import Bite
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

BATCH = 500
LEAST = 8
"""Notes in one transaction; few after what took too long, for what they name may be large."""
LOST_SECONDS = 60
"""A promoted replica may lack so much of its primary's end: far more than one lags that is well."""

_TAKE = """
DELETE FROM redis_backfill WHERE sequence IN (
    SELECT sequence FROM redis_backfill ORDER BY sequence LIMIT :batch)
RETURNING user_id, thread_id, message_id::text AS message_id, state_kind
"""
_THREADS = """
SELECT user_id, id FROM threads
WHERE deleted_at IS NULL AND (user_id, id) > (:after, :at)
  AND (CAST(:user AS text) IS NULL OR user_id = :user)
  AND (CAST(:thread AS text) IS NULL OR id = :thread)
ORDER BY user_id, id LIMIT :batch
"""
# Which threads a reader is likely to ask for first.
_LATEST_THREADS = """
SELECT user_id, id FROM threads WHERE deleted_at IS NULL AND last_message_at IS NOT NULL
ORDER BY last_message_at DESC LIMIT :count
"""
# While PostgreSQL is rebuilt from ClickHouse, hot copies are the last of what ClickHouse lacks.
_STATE = """
SELECT run_id, installation::text AS installation, EXISTS (
    SELECT FROM recovery_runs WHERE finished_at IS NULL AND source = 'clickhouse') AS is_rebuilt
FROM redis_state
"""
_NO_KEYS_YET = "SELECT NOT EXISTS (SELECT FROM idempotency_keys) AS has_none"
_DOUBT_KEYS = (
    "UPDATE redis_state SET keys_whole_from = clock_timestamp() + make_interval(secs => :seconds)"
    " WHERE keys_whole_from <= clock_timestamp()"
)
_ADOPT = """
UPDATE redis_state SET run_id = :run_id, keys_whole_from = CASE
    -- A doubt that one run left goes on with the next.
    WHEN :has_all_keys AND keys_whole_from < 'infinity' THEN keys_whole_from
    WHEN :has_all_keys THEN clock_timestamp()
    ELSE clock_timestamp() + make_interval(secs => :seconds) END
"""


class RedisRecoveryService:
    """Repairs Redis from PostgreSQL. Safe to run anywhere, any number of times at once."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._engine = tiers.operator_engine
        self._repair = tiers.redis_repair
        self._idempotency_seconds = tiers.settings.idempotency_seconds
        self._bite = Bite(BATCH, LEAST)

    def reconcile(self) -> int:
        """Adopts a Redis that was restarted and backfills it; gives how many notes were taken.
        Raises `TierError` with the list as it was."""
        self.adopt()
        return self.backfill_all()

    def backfill_all(self) -> int:
        """Brings all writes that bypassed Redis to it; gives how many notes were taken. Raises
        `TierUnavailable`: the next batch is smaller then, for it may have been too much."""
        taken = 0
        with self._bite.attempt():
            while step := self._backfill(self._bite.size):
                taken += step
                self._bite.grow_batch()
        return taken

    def adopt(self) -> bool:
        """Makes this Redis the one that may be believed, once PostgreSQL is complete; gives whether
        it was not yet. Raises `TierRejected` for a Redis of another installation."""
        found = self._tiers.redis_door.ask(identity)
        known = rows_of(self._engine, _STATE)[0]
        if known.is_rebuilt:
            return False
        if (known.run_id, known.installation) == (found.run_id, found.installation):
            if found.has_evicted:
                # It may have been a key, of which the next run would know nothing.
                transact(self._engine, execute, _DOUBT_KEYS, seconds=self._idempotency_seconds)
            return False
        if found.installation not in {"", known.installation}:
            raise TierRejected("redis", FOREIGN)
        has_all_keys = bool(found.installation) or rows_of(self._engine, _NO_KEYS_YET)[0].has_none
        self.invalidate_all()
        newest = transact(self._engine, idempotency.newest, LOST_SECONDS)
        self._repair.store_keys(newest, self._idempotency_seconds)
        self._tiers.redis_door.ask(lambda client: client.set(keys.INSTALLATION, known.installation))
        values = {"run_id": found.run_id, "has_all_keys": has_all_keys}
        values["seconds"] = self._idempotency_seconds
        transact(self._engine, execute, _ADOPT, values)
        _log_adoption(known.run_id, found)
        return True

    def invalidate_all(self) -> None:
        """Marks every page in Redis incomplete, of messages and of threads, and drops every copy
        of what PostgreSQL has."""
        steps = [
            (keys.EVERY_INDEX, self._repair.invalidate_index_keys),
            (keys.EVERY_LIST, self._repair.invalidate_list_keys),
            *((names, self._repair.evict_committed) for names in keys.EVERY_RECORD),
            *((names, self._repair.evict_committed) for names in keys.EVERY_STATE),
        ]
        for pattern, invalidate in steps:
            for names in filter(None, self._tiers.redis_door.scan(pattern)):
                invalidate(names)

    def _backfill(self, batch: int) -> int:
        with translated(), self._engine.begin() as connection:
            if not try_lock(connection, "redis-recovery"):
                return 0
            notes = execute(connection, _TAKE, batch=batch).all()
            if not notes:
                return 0
            states = {StateName(one.state_kind, *one[:2]) for one in notes if one.state_kind}
            if states:
                self._tiers.state_cache.cache_states_in_redis(state_writes.find(connection, states))
            rows = [note for note in notes if not note.state_kind]
            threads = {(row.user_id, row.thread_id) for row in rows}
            changed = {(row.user_id, row.thread_id) for row in rows if row.message_id is None}
            named = Counter(row.message_id for row in rows if row.message_id is not None)
            # First the indexes: from then on nobody takes a page that was read before for whole.
            self._repair.invalidate_indexes(sorted(threads))
            found = self._shown(connection, list(named))
            self._repair.refresh(found, {one.id: news_of(one, named[one.id]) for one in found})
            made = idempotency.of_messages(connection, found, self._idempotency_seconds)
            self._repair.store_keys(made, self._idempotency_seconds)
            for user_id, thread_id in sorted(changed):
                if row := self._tiers.postgres.thread(user_id, thread_id):
                    self._repair.refresh_thread(row.thread, is_news=True)
        log.info(
            "redis_backfilled",
            notes=len(notes),
            threads=len(threads),
            states=len(notes) - len(rows),
        )
        return len(notes)

    def _shown(self, connection: Connection, message_ids: Sequence[str]) -> list[Message]:
        """Messages as PostgreSQL has them, without hidden ones: the copies of these that Redis may
        have go with their erasure."""
        query: Any = select(messages).where(messages.c.id.in_(message_ids))
        found = [message_of(row) for row in connection.execute(query)]
        threads = {hidden.thread_of(one) for one in found}
        marks = hidden.known(connection, self._tiers.redis, threads)
        return [one for one in found if not marks[hidden.thread_of(one)].hide(one.id)]

    def warm(self, user_id: str | None = None, thread_id: str | None = None) -> Iterator[int]:
        """Warms the newest page of each selected thread from PostgreSQL, all without a selection;
        yields how many messages Redis took. What Redis has stays."""
        for thread in self._threads(user_id, thread_id):
            yield self._warm(*thread)

    def warm_latest(self, count: int) -> Iterator[int]:
        """Warms the threads that were active last, in the same way."""
        for row in rows_of(self._engine, _LATEST_THREADS, count=count):
            yield self._warm(row.user_id, row.id)

    def _warm(self, user_id: str, thread_id: str) -> int:
        own, most = self._tiers, self._tiers.settings.hot_page_messages
        newest = (user_id, thread_id, ids.LOWEST, ids.HIGHEST, "desc")
        hot, page = own.redis.page(*newest, 1), own.postgres.page(*newest, most)
        live = [one for one in page.messages if one.deleted_at is None]
        has_more = len(page.messages) == most
        oldest = page.messages[-1].id if has_more else page.boundary
        if not live or (hot.floor is not None and hot.floor <= oldest):
            return 0
        taken = own.redis.warm(
            user_id,
            thread_id,
            [(one.id, codec.encode(one)) for one in live],
            seen_floor=hot.floor,
            floor=max(oldest, page.watermark or ids.LOWEST),
        )
        return len(live) if taken else 0

    def _threads(self, user_id: str | None, thread_id: str | None) -> Iterator[tuple[str, str]]:
        after = ("", "")
        while True:
            values = {"user": user_id, "thread": thread_id, "after": after[0], "at": after[1]}
            rows = rows_of(self._engine, _THREADS, values | {"batch": BATCH})
            yield from ((row.user_id, row.id) for row in rows)
            if len(rows) < BATCH:
                return
            after = (rows[-1].user_id, rows[-1].id)


def _log_adoption(before: str, found: RedisIdentity) -> None:
    if not before:
        log.info("redis_adopted")
    elif found.installation:
        log.warning("redis_restarted", keeps_data=True)
    else:
        log.error("redis_came_back_empty")
