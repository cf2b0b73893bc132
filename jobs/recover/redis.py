"""Brings Redis back to where it may be believed, after an outage or a restart.

What was written beside it is told to it (`backfill`). A Redis that was restarted may have come
back empty, or without its last moments: it is adopted only after every index in it was told that
it is complete nowhere, what PostgreSQL has in a later version was dropped, and the latest keys were
told to it. And a cache that was lost can be warmed from PostgreSQL (`warm`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Row, select, text

from models import codec, ids
from models.events import news_of
from models.message import Message
from models.state import StateName
from models.tables import messages
from storage.availability import hidden
from storage.availability.checks.installation import FOREIGN, RedisIdentity, identity
from storage.errors import TierRejected, TierUnavailable
from storage.postgres import idempotency
from storage.postgres import states as state_writes
from storage.postgres.driver import message_of, translated
from storage.postgres.reads import PostgresTier
from storage.redis import keys
from storage.redis.driver import RedisGateway
from storage.redis.messages import RedisTier
from storage.redis.repair import RedisRepair
from storage.redis.states import StateCacheManager

log = structlog.get_logger(__name__)

BATCH = 500
LEAST = 8
"""Notes in one transaction; few after what took too long, for what they name may be large."""
SCAN_KEYS = 1_000
"""Keys that one look at Redis passes over: about a millisecond in which it does nothing else."""

LOST_SECONDS = 60
"""A promoted replica may lack so much of its primary's end: far more than one lags that is well."""

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('threadkeep:redis-recovery'))")
_TAKE = text(
    """
DELETE FROM redis_backfill WHERE sequence IN (
    SELECT sequence FROM redis_backfill ORDER BY sequence LIMIT :batch)
RETURNING user_id, thread_id, message_id::text AS message_id, state_kind
"""
)
_THREADS = text(
    """
SELECT user_id, id FROM threads
WHERE deleted_at IS NULL AND (user_id, id) > (:after, :at)
  AND (CAST(:user AS text) IS NULL OR user_id = :user)
  AND (CAST(:thread AS text) IS NULL OR id = :thread)
ORDER BY user_id, id LIMIT :batch
"""
)
# Which threads a reader is likely to ask for first.
_LATEST_THREADS = text(
    """
SELECT user_id, id FROM threads WHERE deleted_at IS NULL AND last_message_at IS NOT NULL
ORDER BY last_message_at DESC LIMIT :count
"""
)
# While PostgreSQL is made anew from ClickHouse, hot copies are the last of what ClickHouse lacks.
_STATE = text(
    """
SELECT run_id, installation::text AS installation, EXISTS (
    SELECT FROM recovery_runs WHERE finished_at IS NULL AND source = 'clickhouse') AS is_rebuilt
FROM redis_state
"""
)
_NO_KEYS_YET = text("SELECT NOT EXISTS (SELECT FROM idempotency_keys)")
_DOUBT_KEYS = text(
    "UPDATE redis_state SET keys_whole_from = clock_timestamp() + make_interval(secs => :seconds)"
    " WHERE keys_whole_from <= clock_timestamp()"
)
_ADOPT = text(
    """
UPDATE redis_state SET run_id = :run_id, keys_whole_from = CASE
    -- A doubt that one run left goes on with the next.
    WHEN :has_all_keys AND keys_whole_from < 'infinity' THEN keys_whole_from
    WHEN :has_all_keys THEN clock_timestamp()
    ELSE clock_timestamp() + make_interval(secs => :seconds) END
"""
)


class RedisRecoveryService:
    """Repairs Redis from PostgreSQL. Safe to run anywhere, any number of times at once."""

    def __init__(
        self,
        engine: Engine,
        door: RedisGateway,
        redis: RedisTier,
        repair: RedisRepair,
        postgres: PostgresTier,
        states: StateCacheManager,
        *,
        idempotency_seconds: int,
        hot_page: int,
    ) -> None:
        self._engine = engine
        self._door = door
        self._redis = redis
        self._repair = repair
        self._postgres = postgres
        self._states = states
        self._idempotency_seconds = idempotency_seconds
        self._hot_page = hot_page
        self._batch = BATCH

    def reconcile(self) -> int:
        """Adopts a Redis that was restarted and tells it what it lacks; gives how much that was.

        Raises `TierUnavailable` with the list as it was.
        """
        self.adopt()
        return self.backfill_all()

    def backfill_all(self) -> int:
        """Tells Redis all that was written beside it; gives how much that was.

        Raises `TierUnavailable`: the next takes less at once, for it may have been too much.
        """
        told = 0
        try:
            while step := self.backfill(self._batch):
                told += step
                self._batch = min(BATCH, self._batch * 2)
        except TierUnavailable as error:
            if error.tried:
                self._batch = max(LEAST, self._batch // 2)
            raise
        return told

    def adopt(self) -> bool:
        """Makes the Redis at hand the one that may be believed; gives whether it was not yet.

        Not before PostgreSQL is whole. Raises `TierRejected` for one that belongs to another
        installation.
        """
        with self._door.guarded() as client:
            found = identity(client)
        with translated(), self._engine.begin() as connection:
            known = connection.execute(_STATE).one()
        if known.is_rebuilt:
            return False
        if (known.run_id, known.installation) == (found.run_id, found.installation):
            if found.has_evicted:
                self._doubt_keys()
            return False
        if found.installation not in {"", known.installation}:
            raise TierRejected("redis", FOREIGN)
        with translated(), self._engine.begin() as connection:
            has_no_keys_yet = bool(connection.execute(_NO_KEYS_YET).scalar_one())
        self.invalidate_all()
        self._teach_newest_keys()
        self._mark(known.installation)
        values = {
            "run_id": found.run_id,
            "has_all_keys": bool(found.installation) or has_no_keys_yet,
            "seconds": self._idempotency_seconds,
        }
        with translated(), self._engine.begin() as connection:
            connection.execute(_ADOPT, values)
        self._log_adoption(known.run_id, found)
        return True

    def invalidate_all(self) -> None:
        """Has Redis call no page complete, of messages or of threads, and drops every copy of what
        PostgreSQL has."""
        self._each(keys.EVERY_INDEX, self._repair.distrust_indexes)
        self._each(keys.EVERY_LIST, self._repair.outdate_lists)
        for records in (*keys.EVERY_RECORD, *keys.EVERY_STATE):
            self._each(records, self._repair.drop_committed)

    def _doubt_keys(self) -> None:
        """What was evicted may have been a key; the next run would know nothing of it."""
        with translated(), self._engine.begin() as connection:
            connection.execute(_DOUBT_KEYS, {"seconds": self._idempotency_seconds})

    def backfill(self, batch: int = BATCH) -> int:
        """Tells Redis a batch of what was written beside it; gives how many notes were taken."""
        with translated(), self._engine.begin() as connection:
            if not connection.execute(_TRY_LOCK).scalar_one():
                return 0
            rows = connection.execute(_TAKE, {"batch": batch}).all()
            if not rows:
                return 0
            self._refresh_states(connection, [row for row in rows if row.state_kind])
            told, rows = len(rows), [row for row in rows if not row.state_kind]
            threads = {(row.user_id, row.thread_id) for row in rows}
            changed = {(row.user_id, row.thread_id) for row in rows if row.message_id is None}
            named = [row.message_id for row in rows if row.message_id is not None]
            # First the indexes: from then on nobody takes a page that was read before for whole.
            self._repair.invalidate_indexes(sorted(threads))
            found = self._shown(connection, named)
            notes = Counter(named)
            self._repair.refresh(found, {one.id: news_of(one, notes[one.id]) for one in found})
            made = idempotency.of_messages(connection, found, self._idempotency_seconds)
            self._repair.store_keys(made, self._idempotency_seconds)
            for user_id, thread_id in sorted(changed):
                self._refresh_thread(user_id, thread_id)
        log.info("redis_backfilled", notes=told, threads=len(threads), states=told - len(rows))
        return told

    def _shown(self, connection: Connection, message_ids: Sequence[str]) -> list[Message]:
        """Messages as PostgreSQL has them, without those that are hidden: nobody is told of them,
        and the copy that Redis may have goes with their erasure."""
        query: Any = select(messages).where(messages.c.id.in_(message_ids))
        found = [message_of(row) for row in connection.execute(query)]
        threads = {hidden.thread_of(one) for one in found}
        marks = hidden.known(connection, self._door, self._redis.slots, threads)
        return [one for one in found if not marks[hidden.thread_of(one)].hide(one.id)]

    def warm(self, user_id: str | None = None, thread_id: str | None = None) -> Iterator[int]:
        """Warms the newest page of threads from PostgreSQL; yields for each thread how many
        messages Redis took.

        Of one thread id, of all threads of a user, of both, or of everyone. What Redis has stays.
        """
        for thread in self._threads(user_id, thread_id):
            yield self._warm(*thread)

    def warm_latest(self, count: int) -> Iterator[int]:
        """Likewise of the threads that were active last."""
        with translated(), self._engine.begin() as connection:
            rows = connection.execute(_LATEST_THREADS, {"count": count}).all()
        for row in rows:
            yield self._warm(row.user_id, row.id)

    def _warm(self, user_id: str, thread_id: str) -> int:
        hot = self._redis.page(user_id, thread_id, ids.LOWEST, ids.HIGHEST, "desc", 1)
        page = self._postgres.page(
            user_id, thread_id, ids.LOWEST, ids.HIGHEST, "desc", self._hot_page
        )
        live = [one for one in page.messages if one.deleted_at is None]
        has_more = len(page.messages) == self._hot_page
        oldest = page.messages[-1].id if has_more else page.boundary
        if not live or (hot.floor is not None and hot.floor <= oldest):
            return 0
        taken = self._redis.warm(
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
            with translated(), self._engine.begin() as connection:
                values = {"user": user_id, "thread": thread_id, "after": after[0], "at": after[1]}
                rows = connection.execute(_THREADS, values | {"batch": BATCH}).all()
            yield from ((row.user_id, row.id) for row in rows)
            if len(rows) < BATCH:
                return
            after = (rows[-1].user_id, rows[-1].id)

    def _refresh_thread(self, user_id: str, thread_id: str) -> None:
        row = self._postgres.thread(user_id, thread_id)
        if row is not None:
            self._repair.refresh_thread(row.thread, is_news=True)

    def _refresh_states(self, connection: Connection, rows: Sequence[Row[Any]]) -> None:
        names = {StateName(row.state_kind, row.user_id, row.thread_id) for row in rows}
        if names:
            self._states.cache_states_in_redis(state_writes.find(connection, names))

    def _each(self, pattern: str, act: Callable[[list[str]], None]) -> None:
        with self._door.guarded() as client:
            found = client.scan_iter(match=pattern, count=SCAN_KEYS)
            while names := [name.decode() for name in islice(found, SCAN_KEYS)]:
                act(names)

    def _teach_newest_keys(self) -> None:
        with translated(), self._engine.begin() as connection:
            made = idempotency.newest(connection, LOST_SECONDS)
        self._repair.store_keys(made, self._idempotency_seconds)

    def _mark(self, installation: str) -> None:
        with self._door.guarded() as client:
            client.set(keys.INSTALLATION, installation)

    def _log_adoption(self, before: str, found: RedisIdentity) -> None:
        if not before:
            log.info("redis_adopted")
        elif found.installation:
            log.warning("redis_restarted", keeps_data=True)
        else:
            log.error("redis_came_back_empty")
