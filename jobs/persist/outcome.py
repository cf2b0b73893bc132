"""What became of the entries of a drain, and what the log is to settle of it after the commit.

No copy in Redis is left behind: an older version may be evicted like the one that won, a hidden one
is deleted, and a refused one stays until an operator decides on its letter.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from jobs.persist.kinds import KINDS, Item
from models.appends import Key, Made
from models.message import Message, Thread
from models.records import Address, address_of
from models.state import StateRecord
from storage.errors import headline
from storage.redis import keys
from storage.redis.pending_log import CommittedBatch, HiddenEntry, LogEntry, SettledEntry


class RefusedEntry(NamedTuple):
    """An entry that PostgreSQL will not take, and its whole reason."""

    entry: LogEntry
    reason: str

    def facts(self) -> dict[str, str | int | None]:
        """What a log line may say of it: where and why, never what was written."""
        slot, entry_id, kind, record, _ = self.entry
        message_id = address_of(kind, record).message_id
        reason = headline(self.reason)
        return {"slot": slot, "entry_id": entry_id, "message_id": message_id, "reason": reason}


class DrainOutcome:
    """The entries of one transaction by what became of them, those that were taken by slot:
    `stored` (as new or older), `hidden` messages, and `refused`."""

    def __init__(self) -> None:
        self.stored: dict[int, list[Item]] = defaultdict(list)
        self.hidden: dict[int, list[Item]] = defaultdict(list)
        self.refused: list[RefusedEntry] = []

    def take(self, items: Sequence[Item], hidden: Collection[str]) -> None:
        """Notes what PostgreSQL has taken, and messages left out because they are hidden."""
        for item in items:
            is_hidden = isinstance(item.record, Message) and item.record.id in hidden
            (self.hidden if is_hidden else self.stored)[item.entry.slot].append(item)

    def keys(self) -> list[tuple[Key, Made]]:
        """The Idempotency-Keys of what was stored, with what they made."""
        return [
            (Key(one.user_id, one.thread_id, entry.key), Made(one.id, one.content_hash))
            for items in self.stored.values()
            for entry, one in items
            if entry.key is not None
        ]

    def committed(self) -> list[CommittedBatch]:
        """What the log is to settle of each slot."""
        refused = {refusal.entry.slot for refusal in self.refused}
        return [self._of_slot(slot) for slot in sorted({*self.stored, *self.hidden, *refused})]

    def _of_slot(self, slot: int) -> CommittedBatch:
        stored, hidden = self.stored[slot], self.hidden[slot]
        newest: dict[str, Any] = {}
        for entry, record in stored:
            key = KINDS[entry.kind].key(slot, record)
            if key not in newest or newest[key].version < record.version:
                newest[key] = record
        threads = [record for _, record in stored if isinstance(record, Thread)]
        listed = {
            (one.user_id, one.thread_id)
            for _, one in (*stored, *hidden)
            if isinstance(one, Message)
        }
        settled, nobodys = self._settled(slot)
        dropped = {message.id: message for _, message in hidden}
        return CommittedBatch(
            slot,
            nobodys,
            {key: record.version for key, record in newest.items()},
            sorted(keys.index(slot, *thread) for thread in listed),
            {
                keys.watermark(slot, thread.user_id, thread.id): thread.deleted_through
                for thread in threads
                if thread.deleted_through
            },
            settled,
            {key: one.expires_at for key, one in newest.items() if isinstance(one, StateRecord)},
            [
                HiddenEntry(name, keys.index(slot, message.user_id, message.thread_id))
                for name, message in dropped.items()
            ],
        )

    def _settled(self, slot: int) -> tuple[dict[str, list[SettledEntry]], list[str]]:
        """The slot's entries by user, as far as they are of a thread and say whose they are, and
        the ids of the others."""
        settled: dict[str, list[SettledEntry]] = defaultdict(list)
        nobodys: list[str] = []
        for entry, record in self.stored[slot]:
            if isinstance(record, Message):
                done = SettledEntry(entry.entry_id, record.thread_id, record.id, record.version)
                settled[record.user_id].append(done)
            elif isinstance(record, Thread):
                settled[record.user_id].append(SettledEntry(entry.entry_id, record.id))
            else:
                nobodys.append(entry.entry_id)
        others: list[tuple[LogEntry, Message | Address]] = [
            *self.hidden[slot],
            *(
                (one, address_of(one.kind, one.record))
                for one, _ in self.refused
                if one.slot == slot
            ),
        ]
        for entry, whose in others:
            if entry.kind != "state" and whose.user_id and whose.thread_id:
                settled[whose.user_id].append(SettledEntry(entry.entry_id, whose.thread_id))
            else:
                nobodys.append(entry.entry_id)
        return settled, nobodys
