"""What became of the entries of a drain, and what the log is to settle of it after the commit.

No copy in Redis is left behind: an older version may be evicted like the one that won, a hidden one
is deleted, and a refused one stays until an operator decides on its letter.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from jobs.persist.kinds import KINDS, Item
from models.appends import Key
from models.message import Message, Thread
from models.records import address_of
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
    """The entries of one transaction by what became of them: `stored` (as new or older), `hidden`
    messages, and `refused`."""

    def __init__(self) -> None:
        self.stored: list[Item] = []
        self.hidden: list[Item] = []
        self.refused: list[RefusedEntry] = []

    def take(self, items: Sequence[Item], hidden: Collection[str]) -> None:
        """Notes what PostgreSQL has taken, and messages left out because they are hidden."""
        for item in items:
            is_hidden = isinstance(item.record, Message) and item.record.id in hidden
            (self.hidden if is_hidden else self.stored).append(item)

    def keys(self) -> list[tuple[Key, str]]:
        """The Idempotency-Keys of what was stored, with the messages they made."""
        return [
            (Key(message.user_id, message.thread_id, entry.key), message.id)
            for entry, message in self.stored
            if entry.key is not None
        ]

    def committed(self, slot: int, entry_ids: Sequence[str]) -> CommittedBatch:
        """What the log is to settle of one slot."""
        stored = [item for item in self.stored if item.entry.slot == slot]
        hidden = [item for item in self.hidden if item.entry.slot == slot]
        newest: dict[str, Any] = {}
        for entry, record in stored:
            key = KINDS[entry.kind].key(slot, record)
            newest[key] = max(record, newest.get(key, record), key=lambda one: int(one.version))
        threads = [record for _, record in stored if isinstance(record, Thread)]
        listed = [one for _, one in (*stored, *hidden) if isinstance(one, Message)]
        settled = self._settled(slot, stored, hidden)
        known = {one.entry_id for entries in settled.values() for one in entries}
        dropped = {message.id: message for _, message in hidden}
        return CommittedBatch(
            slot,
            [name for name in entry_ids if name not in known],
            {key: record.version for key, record in newest.items()},
            sorted({_index(slot, message) for message in listed}),
            {
                keys.watermark(slot, thread.user_id, thread.id): thread.deleted_through
                for thread in threads
                if thread.deleted_through
            },
            settled,
            {key: one.expires_at for key, one in newest.items() if isinstance(one, StateRecord)},
            [HiddenEntry(name, _index(slot, message)) for name, message in dropped.items()],
        )

    def _settled(
        self, slot: int, stored: Sequence[Item], hidden: Sequence[Item]
    ) -> dict[str, list[SettledEntry]]:
        """The slot's entries by user, as far as they are of a thread and say whose they are."""
        settled: dict[str, list[SettledEntry]] = defaultdict(list)
        for entry, record in stored:
            if isinstance(record, Message):
                done = SettledEntry(entry.entry_id, record.thread_id, record.id, record.version)
                settled[record.user_id].append(done)
            elif isinstance(record, Thread):
                settled[record.user_id].append(SettledEntry(entry.entry_id, record.id))
        for entry, message in hidden:
            settled[message.user_id].append(SettledEntry(entry.entry_id, message.thread_id))
        for entry, _ in self.refused:
            address = address_of(entry.kind, entry.record)
            if entry.kind == "state" or entry.slot != slot:
                continue
            if address.user_id and address.thread_id:
                settled[address.user_id].append(SettledEntry(entry.entry_id, address.thread_id))
        return settled


def _index(slot: int, message: Message) -> str:
    return keys.index(slot, message.user_id, message.thread_id)
