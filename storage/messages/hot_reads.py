"""Reads that Redis answers alone. Those of the same moment share a round trip.

Whatever is unusual is no answer here: the reader of all tiers has it then.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from models import codec, ids
from models.hot_page import HotPage
from models.streams import state_of
from storage.availability.lease import Lease
from storage.messages.page_reader import Range, stored_records
from storage.messages.retrieval_service import MessageSlice, stored_slice
from storage.redis.driver import MOST_BYTES
from storage.redis.messages import NAMES_AT_ONCE, RedisTier
from storage.resilience.combiner import Combiner, Done
from storage.telemetry.instruments import Instruments

LARGEST_PAGE = NAMES_AT_ONCE
MESSAGE_BYTES = 1024
"""What a message takes in an answer, about."""


class HotMessage(NamedTuple):
    """The record of a live message that is intact and not being streamed, and its version."""

    record: bytes
    version: int


class HotReads:
    """Asks Redis for messages and pages of many readers at once. An answer is None where Redis
    alone does not have it, or it may not be shown as it is."""

    def __init__(self, redis: RedisTier, lease: Lease, instruments: Instruments) -> None:
        self._redis = redis
        self._lease = lease
        self._instruments = instruments
        self._messages = Combiner("redis-message", self._read_messages, MOST_BYTES)
        self._pages = Combiner("redis-page", self._read_pages, MOST_BYTES)

    def message(self, user_id: str, message_id: str, done: Done[HotMessage | None]) -> None:
        """Has one message read, and returns at once; `done` is called in another thread."""
        self._messages.submit(((user_id, message_id),), MESSAGE_BYTES, done)

    def newest(
        self, user_id: str, thread_id: str, limit: int, done: Done[MessageSlice | None]
    ) -> None:
        """Likewise the newest messages of a thread, up to `limit`, which is at most
        `LARGEST_PAGE`."""
        wanted = Range(user_id, thread_id, ids.LOWEST, ids.HIGHEST, "desc", limit + 1)
        self._pages.submit((wanted,), limit * MESSAGE_BYTES, done)

    def _read_messages(self, asked: Sequence[tuple[str, str]]) -> Sequence[HotMessage | None]:
        if not self._is_complete:
            return [None] * len(asked)
        started = time.perf_counter()
        found = self._redis.messages_of(asked)
        answers = [_shown(*one, *answer) for one, answer in zip(asked, found, strict=True)]
        self._count(answers, started)
        return answers

    def _read_pages(self, asked: Sequence[Range]) -> Sequence[MessageSlice | None]:
        if not self._is_complete:
            return [None] * len(asked)
        started = time.perf_counter()
        found = self._redis.pages(asked)
        answers = [_slice(wanted, page) for wanted, page in zip(asked, found, strict=True)]
        self._count(answers, started)
        return answers

    @property
    def _is_complete(self) -> bool:
        return self._lease.current(wait=False).redis_complete

    def _count(self, answers: Sequence[object], started: float) -> None:
        seconds = time.perf_counter() - started
        for answer in answers:
            if answer is not None:
                self._instruments.read("redis", seconds)


def _shown(
    user_id: str, message_id: str, record: bytes | None, watermark: str | None
) -> HotMessage | None:
    if record is None or message_id <= (watermark or ids.LOWEST):
        return None
    try:
        message = codec.decode(record)
    except codec.Corrupt:
        return None
    is_plain = message.deleted_at is None and state_of(message.metadata) != "open"
    if message.user_id != user_id or not is_plain or not codec.is_intact(message):
        return None
    return HotMessage(record, message.version)


def _slice(wanted: Range, page: HotPage) -> MessageSlice | None:
    records = stored_records(page, wanted.above(page.watermark))
    return stored_slice(records, wanted.at_most - 1)
