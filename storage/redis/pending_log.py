"""The pending log: every acknowledged write, whole, until its row is in PostgreSQL.

Each slot has one stream, read from its start; an entry is deleted only after the commit, so a
worker that dies before has changed nothing. A lock in PostgreSQL keeps two workers off one slot.
"""

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from redis import Redis

from settings import Settings
from storage.errors import TierError
from storage.redis import keys
from storage.redis.client import patient_client
from storage.redis.driver import Call, RedisGateway, Script, translated
from storage.redis.states import seconds_to_stay
from storage.resilience.bites import Bite

MOST_BYTES = 512 * 1024
"""Of one batch, which Redis sends and PostgreSQL commits at once: others wait meanwhile."""


class LogEntry(NamedTuple):
    """One entry of a pending stream; `kind` is `message`, `thread` or `state`, and `key` the
    Idempotency-Key that made the message, if any."""

    slot: int
    entry_id: str
    kind: str
    record: bytes
    key: str | None = None


class SettledEntry(NamedTuple):
    """An entry to delete from the log, and the version of a message that it committed; without one
    `message_id` is empty."""

    entry_id: str
    thread_id: str
    message_id: str = ""
    version: int = 0


class HiddenEntry(NamedTuple):
    """A message that was not written because it is hidden, and the index that may list it."""

    message_id: str
    listed_in: str


class CommittedBatch(NamedTuple):
    """What one drained batch of a slot wrote, by key: records with their versions, indexes of
    the threads touched, watermarks with their ids, and when states expire, if ever. `settled` are
    the entries by user, `entry_ids` those that are nobody's; `dropped` are messages of which
    nothing is to stay in Redis."""

    slot: int
    entry_ids: Sequence[str]
    versions: Mapping[str, int]
    indexes: Sequence[str]
    watermarks: Mapping[str, str]
    settled: Mapping[str, Sequence[SettledEntry]] = MappingProxyType({})
    expiries: Mapping[str, str | None] = MappingProxyType({})
    dropped: Sequence[HiddenEntry] = ()


class LogStatus(NamedTuple):
    """By Redis's clock, in seconds: how long ago a worker polled the log, None for never, and the
    age of the oldest entry; and the slot and id of that entry, None where there is none."""

    polled_seconds: float | None
    oldest_seconds: float
    oldest: tuple[int, bytes] | None

    @property
    def waiting_seconds(self) -> float | None:
        """The age of the oldest entry, None where there is none."""
        return None if self.oldest is None else self.oldest_seconds


POLL_RECORD_SECONDS = 2.0
"""A worker records at most one poll in so long."""

WAIT_SECONDS = 2.0
"""A worker waits for an entry at most so long, and then looks again."""


class PendingLog:
    """Reads and settles the log over one gateway."""

    def __init__(self, door: RedisGateway, settings: Settings) -> None:
        self._door = door
        self._settings = settings
        self.slots = settings.shards
        self._recorded_at = float("-inf")
        self.bite = Bite(MOST_BYTES)
        self._entry_bytes = 0
        self._settle = Script(door, "settle", emits_events=True)

    def read(self, slots: Sequence[int], count: int) -> list[LogEntry]:
        """The entries that `read_batch` gives."""
        return self.read_batch(slots, count)[0]

    def read_batch(self, slots: Sequence[int], count: int) -> tuple[list[LogEntry], bool]:
        """The oldest entries of pending streams, up to about `count` in all, oldest first each, and
        whether the streams may hold more.

        Fewer where they are large, so that PostgreSQL can write the batch in time; chance decides
        which slots are left out then.
        """
        if self._entry_bytes:
            # Entries of the last batch's size that would not fit need not be sent.
            count = min(count, self.bite.size // self._entry_bytes + 1)
        share = max(1, count // len(slots))
        slots = random.sample(slots, len(slots))
        answers = self._door.each(
            lambda pipeline, slot: pipeline.xrange(keys.pending(slot), count=share), slots
        )
        found = [
            _entry(slot, entry_id, fields)
            for slot, entries in zip(slots, answers, strict=True)
            for entry_id, fields in entries
        ]
        sizes = [len(entry.record) for entry in found]
        self._entry_bytes = sum(sizes) // len(sizes) if sizes else 0
        taken = list(self.bite.of(found, sizes))
        return taken, len(taken) < len(found) or share <= max(map(len, answers))

    def page(self, slot: int, after: str, count: int) -> list[LogEntry]:
        """Up to `count` entries of a slot from `-`, its start, or after `(` and an entry id."""
        with self._door.guarded() as client:
            entries: Any = client.xrange(keys.pending(slot), min=after, count=count)
        return [_entry(slot, entry_id, fields) for entry_id, fields in entries]

    def settle(self, batches: Sequence[CommittedBatch]) -> None:
        """Deletes committed entries, emits events, and starts TTLs. Raises the first refusal, if
        any, after the other slots were settled."""
        self._settle.every([self._settle_call(committed) for committed in batches])

    def _settle_call(self, committed: CommittedBatch) -> Call:
        settings = self._settings
        records = {
            key: (version, seconds_to_stay(committed.expiries.get(key), settings.hot_seconds))
            for key, version in committed.versions.items()
        }
        names = [keys.pending(committed.slot), *records, *committed.indexes, *committed.watermarks]
        for user_id in committed.settled:
            names += keys.of_listeners(user_id)
        for one in committed.dropped:
            of_message = (keys.message, keys.stream)
            names += (make(committed.slot, one.message_id) for make in of_message)
            names.append(one.listed_in)
        arguments = [
            settings.hot_seconds,
            settings.hot_page_messages,
            keys.message_prefix(committed.slot),
            len(records),
            len(committed.indexes),
            len(committed.watermarks),
            len(committed.settled),
            settings.events_kept,
            len(committed.dropped),
            *chain.from_iterable(records.values()),
            *committed.watermarks.values(),
            *(one.message_id for one in committed.dropped),
        ]
        for user_id, entries in committed.settled.items():
            arguments += (user_id, len(entries))
            for settled in entries:
                arguments += settled
        arguments += committed.entry_ids
        return names, arguments

    def wait(self) -> None:
        """Returns as soon as the log holds an entry, after `WAIT_SECONDS` at the latest, and where
        Redis does not answer."""
        with suppress(TierError), translated():
            logs: Any = dict.fromkeys(map(keys.pending, range(self.slots)), "0-0")
            self._waiting_client.xread(logs, count=1, block=int(WAIT_SECONDS * 1000))

    def end_wait(self) -> None:
        """Has whoever waits return now."""
        self._waiting_client.connection_pool.disconnect()

    @cached_property
    def _waiting_client(self) -> Redis:
        return patient_client(self._settings, WAIT_SECONDS)

    def backlog(self) -> list[int]:
        """How many entries each slot's log holds."""
        return self._door.each(
            lambda pipeline, slot: pipeline.xlen(keys.pending(slot)), range(self.slots)
        )

    def record_poll(self) -> None:
        """Records that the log was polled just now, unless that was done lately. Never raises."""
        if time.monotonic() - self._recorded_at < POLL_RECORD_SECONDS:
            return
        with suppress(TierError):
            now_us = self.now_us()
            self._door.ask(lambda client: client.set(keys.LAST_POLL, now_us))
            self._recorded_at = time.monotonic()

    def status(self) -> LogStatus:
        """The status of the log at this moment."""
        with self._door.guarded() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.time()
            pipeline.get(keys.LAST_POLL)
            for slot in range(self.slots):
                pipeline.xrange(keys.pending(slot), count=1)
            (seconds, microseconds), polled, *heads = pipeline.execute()
        now = seconds + microseconds / 1e6
        firsts = [(head[0][0], slot) for slot, head in enumerate(heads) if head]
        oldest = min(firsts, key=lambda first: _milliseconds(first[0]), default=None)
        age = 0.0 if oldest is None else max(0.0, now - _milliseconds(oldest[0]) / 1000)
        return LogStatus(
            None if polled is None else max(0.0, now - int(polled) / 1e6),
            age,
            None if oldest is None else (oldest[1], oldest[0]),
        )

    def now_us(self) -> int:
        """Microseconds since 1970 by Redis's clock, which also stamps the entries."""
        seconds, microseconds = self._door.ask(lambda client: client.time())
        return int(seconds) * 1_000_000 + int(microseconds)

    def oldest_pending_us(self) -> int | None:
        """When the oldest entry of any log was written, microseconds since 1970."""
        oldest = self.status().oldest
        return None if oldest is None else _milliseconds(oldest[1]) * 1000


def _milliseconds(entry_id: bytes) -> int:
    """When an entry was written, since 1970."""
    return int(entry_id.split(b"-")[0])


def _entry(slot: int, entry_id: bytes, fields: dict[bytes, bytes]) -> LogEntry:
    # An entry has one field, named for its kind; that of a message may have a key beside it.
    # Anything else is kept whole for the dead letters.
    name = entry_id.decode()
    if len(fields) == 1:
        ((kind, record),) = fields.items()
        # PostgreSQL keeps no U+0000, not even in a dead letter's kind.
        named = kind.decode(errors="replace").replace("\0", "\ufffd")
        return LogEntry(slot, name, named, record)
    if fields.keys() == {b"message", b"key"}:
        return LogEntry(slot, name, "message", fields[b"message"], fields[b"key"].decode())
    whole = {field.decode("latin-1"): value.decode("latin-1") for field, value in fields.items()}
    return LogEntry(slot, name, "unknown", msgspec.json.encode(whole))
