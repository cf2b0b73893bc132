"""Reads messages: one message from any tier, a thread as one list over all three.

The highest version of an id wins, tombstones hide. A tier that does not answer is left out and
named in `warning`.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import structlog

from models import codec, ids
from models.message import Caveat, Message, Source, Tier
from storage.availability.lease import Lease
from storage.availability.reading import Reading, ReadTiers, source_of
from storage.errors import NotFound, TierRejected, TierUnavailable
from storage.messages.page_reader import Range, RangeReader
from storage.resilience.bites import PAGE_BYTES, first_page
from storage.telemetry.instruments import Instruments

log = structlog.get_logger(__name__)

_Ask = Callable[[str, str], Message | None]
_Mark = Callable[[str, str], str | None]


class Retrieved(NamedTuple):
    """A message, the tier it came from, a warning if a tier did not answer, and whether it matches
    its own hash."""

    message: Message
    source: Tier
    warning: Caveat | None
    is_intact: bool = True


class MessageSlice(NamedTuple):
    """Part of a thread. `next_cursor` is None at its end; `source` is a tier or `mixed`.

    Where its records are shown as they are, `stored` is the JSON array of them in place of
    `messages`.
    """

    messages: list[Message]
    next_cursor: str | None
    source: Source
    warning: Caveat | None
    stored: bytes | None = None


class UnifiedMessageRetrievalService:
    """The read verbs over all tiers."""

    def __init__(self, tiers: ReadTiers, lease: Lease, instruments: Instruments) -> None:
        self._instruments = instruments
        self._redis, self._postgres, self._clickhouse = self._tiers = tiers
        self._lease = lease

    def get(self, user_id: str, message_id: str) -> Retrieved:
        """The newest version of a message.

        Raises `NotFound`, also for someone else's and for a deleted one, and `TierUnavailable`
        where the only tiers that could know do not answer.
        """
        started = time.perf_counter()
        found = self.find(user_id, message_id)
        self._instruments.read(found.source, time.perf_counter() - started)
        if found.message.deleted_at is not None:
            raise NotFound
        return found

    def find(self, user_id: str, message_id: str) -> Retrieved:
        """As `get`, but gives tombstones too."""
        if not ids.is_id(message_id):
            raise NotFound
        complete = self._lease.current()
        questions: tuple[tuple[Tier, _Ask, bool], ...] = (
            ("redis", self._hot, complete.redis_complete),
            ("postgresql", self._committed, complete.postgres_complete),
            ("clickhouse", self._archived, True),
        )
        newest: Retrieved | None = None
        reading = Reading()
        for source, ask, is_complete in questions:
            message = reading.ask(source, partial(ask, user_id, message_id))
            if message is not None:
                newest = self._better(newest, Retrieved(message, source, None))
            # Of one that is damaged another tier may have a sound copy.
            if (
                newest is not None
                and newest.is_intact
                and is_complete
                and source not in reading.down
            ):
                break
        if newest is not None:
            # Redis knows of a deletion before PostgreSQL does, and is not asked by who finds the
            # message below it; where Redis may not be believed, nor is its silence. A deletion that
            # was committed and evicted before Redis is asked is in PostgreSQL by then.
            is_hot = newest.source == "redis"
            unasked = [] if is_hot else [self._hot_watermark]
            unasked += [] if is_hot and complete.redis_complete else [self._postgres.watermark]
            message = newest.message
            if message.id <= _highest(user_id, message.thread_id, unasked):
                raise NotFound
            return newest._replace(warning=reading.warning)
        if reading.down:
            # Not finding it where some tier is silent does not mean that it does not exist.
            raise reading.failure()
        raise NotFound

    def is_gone(self, user_id: str, thread_id: str, message_id: str) -> bool:
        """Whether a message went with its thread or its user, as far as the tiers know that
        answer."""
        asked = (self._hot_watermark, self._postgres.watermark)
        return message_id <= _highest(user_id, thread_id, asked)

    def page(
        self,
        user_id: str,
        thread_id: str,
        *,
        limit: int,
        cursor: str | None,
        order: str,
        as_stored: bool = False,
    ) -> MessageSlice:
        """Up to `limit` live messages of a thread and `PAGE_BYTES`, newest first unless `order` is
        `asc`. Who takes them `as_stored` is given records where Redis alone has them all.

        An unknown thread is an empty page. Raises `TierUnavailable` only when no tier answers.
        """
        started = time.perf_counter()
        low, high = (cursor or ids.LOWEST, ids.HIGHEST)
        if order != "asc":
            low, high = (ids.LOWEST, cursor or ids.HIGHEST)
        rest = Range(user_id, thread_id, low, high, order, limit + 1)
        live: list[Message] = []
        sources: set[Tier] = set()
        reading = Reading()
        ended = False
        size = 0
        complete = self._lease.current()
        while len(live) <= limit and size <= PAGE_BYTES and not ended:
            reader = RangeReader(self._tiers, rest, reading, complete)
            if as_stored and not live and (found := stored_slice(reader.stored(), limit)):
                self._instruments.read("redis", time.perf_counter() - started)
                return found
            merged = reader.run()
            more = [message for message in merged.messages if message.deleted_at is None]
            live += more
            size += sum(map(codec.size_of, more))
            sources |= merged.sources
            ended = merged.horizon is None
            if merged.horizon is not None:
                following = rest.beyond(merged.horizon)
                if following == rest:
                    raise TierRejected("clickhouse", "a page of a thread made no progress")
                rest = following
        shown, source = live[:limit], source_of(sources or {"redis"})
        if size > PAGE_BYTES:
            shown = [*first_page(shown, codec.size_of)]
        self._instruments.read(source, time.perf_counter() - started)
        following_cursor = shown[-1].id if len(live) > len(shown) else None
        return MessageSlice(shown, following_cursor, source, reading.warning)

    def _better(self, known: Retrieved | None, found: Retrieved) -> Retrieved:
        """The newer one; of two copies of a version the one that is sound."""
        if not codec.is_intact(found.message):
            self._instruments.damaged(found.source)
            log.error("damaged_copy", tier=found.source, message_id=found.message.id)
            found = found._replace(is_intact=False)
        if known is None:
            return found
        order = (known.message.version, known.is_intact)
        return found if order < (found.message.version, found.is_intact) else known

    def _hot(self, user_id: str, message_id: str) -> Message | None:
        record, watermark = self._redis.message_of(user_id, message_id)
        if record is None:
            return None
        message = codec.decode(record)
        if message.user_id != user_id or message_id <= (watermark or ids.LOWEST):
            raise NotFound
        return message

    def _committed(self, user_id: str, message_id: str) -> Message | None:
        found = self._postgres.message(user_id, message_id)
        return found[0] if found else None

    def _archived(self, user_id: str, message_id: str) -> Message | None:
        found = self._clickhouse.message(user_id, message_id)
        if found is None:
            return None
        watermark = _highest(user_id, found[0].thread_id, [self._postgres.watermark])
        return None if message_id <= watermark else found[0]

    def _hot_watermark(self, user_id: str, thread_id: str) -> str | None:
        return self._redis.thread(user_id, thread_id)[1]


def stored_slice(records: Sequence[tuple[str, bytes]], limit: int) -> MessageSlice | None:
    """A page of records as they are, if they may be shown so."""
    shown = records[:limit]
    stored = codec.plain_array([record for _, record in shown]) if shown else None
    if stored is None:
        return None
    if len(stored) > PAGE_BYTES and len(shown) > 1:
        shown = first_page(shown, lambda one: len(one[1]))
        stored = codec.plain_array([record for _, record in shown])
    following = shown[-1][0] if len(records) > len(shown) else None
    return MessageSlice([], following, "redis", None, stored)


def _highest(user_id: str, thread_id: str, asked: Sequence[_Mark]) -> str:
    """The highest id that is hidden in a thread, as far as those know who are asked and answer."""
    marks = [ids.LOWEST]
    for mark in asked:
        with suppress(TierUnavailable):
            marks.append(mark(user_id, thread_id) or ids.LOWEST)
    return max(marks)
