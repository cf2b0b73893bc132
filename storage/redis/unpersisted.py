"""What Redis has of a user that PostgreSQL may not have yet: read from the log itself.

Read before PostgreSQL: what has left the log by then was committed before PostgreSQL is asked.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from models import codec, ids
from models.message import Message
from storage.redis import keys
from storage.redis.messages import RedisTier

PAGE_ENTRIES = 250
MOST_ENTRIES = 20_000
"""Of the slots in which a user has something waiting. A log is as long only in an outage."""
ENTRY_BYTES = 4_096
"""A longer entry counts for several, so that no search holds more than a few of the largest."""


class Unpersisted(NamedTuple):
    """The newest versions in the log by id, and up to which id threads are deleted. Without
    `is_whole` the log was too long to be read to its start."""

    messages: dict[str, Message]
    marks: dict[str, str]
    is_whole: bool = True


class UnpersistedWrites:
    """Reads the log for one user. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, redis: RedisTier) -> None:
        self._door = redis.door
        self._redis = redis

    def of(self, user_id: str) -> Unpersisted:
        """All that the log has of a user."""
        waiting = self._door.ask(lambda client: client.hkeys(keys.waiting_threads(user_id)))
        threads = [name.decode() for name in waiting]
        slots = sorted({self._redis.slot_of_thread(user_id, name) for name in threads})
        found = Unpersisted({}, self.marks(user_id, threads))
        left = MOST_ENTRIES
        for slot in slots:
            left = self._read(slot, user_id, found, left)
        return found._replace(is_whole=left > 0)

    def marks(self, user_id: str, threads: Iterable[str]) -> dict[str, str]:
        """Up to which id threads are deleted, or all of the user's, as far as Redis knows."""
        found = self._redis.watermarks((user_id, name) for name in threads)
        return {name: max(marks) for (_, name), marks in found.items()}

    def copies(self, message_ids: Iterable[str]) -> dict[str, Message]:
        """The hot copies of messages, as far as there are any."""
        by_slot: dict[int, list[str]] = {}
        for name in message_ids:
            by_slot.setdefault(self._redis.slot_of_message(name), []).append(name)
        records = (
            record
            for slot, names in by_slot.items()
            for record in self._redis.messages(slot, names)
            if record
        )
        return {one.id: one for one in map(codec.decode, records)}

    def _read(self, slot: int, user_id: str, found: Unpersisted, left: int) -> int:
        owner = b'"user_id":' + msgspec.json.encode(user_id)
        before = "+"
        while left > 0:
            with self._door.guarded() as client:
                entries: Any = client.xrevrange(keys.pending(slot), max=before, count=PAGE_ENTRIES)
            for _, fields in entries:
                _take(fields, owner, user_id, found)
                left -= 1 + sum(map(len, fields.values())) // ENTRY_BYTES
            if len(entries) < PAGE_ENTRIES:
                return max(1, left)
            before = f"({entries[-1][0].decode()}"
        return left


def _take(fields: dict[bytes, bytes], owner: bytes, user_id: str, found: Unpersisted) -> None:
    try:
        if owner in (record := fields.get(b"message", b"")):
            message = codec.decode(record)
            known = found.messages.get(message.id)
            if message.user_id == user_id and (known is None or known.version < message.version):
                found.messages[message.id] = message
        elif owner in (record := fields.get(b"thread", b"")):
            thread = codec.decode_thread(record)
            if thread.user_id == user_id and thread.deleted_through:
                mark = found.marks.get(thread.id, ids.LOWEST)
                found.marks[thread.id] = max(mark, thread.deleted_through)
    except codec.Corrupt:
        # It will be a dead letter; nobody can read it.
        return
