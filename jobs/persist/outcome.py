"""What became of the entries of a drain, and what the log is to settle of it after the commit.

Everything that is dropped between the log and the table is named here, so that its copy in Redis is
never left behind: an older version may be evicted like the one that won, what is hidden goes, and
what was refused stays until somebody decides on its letter.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from jobs.persist.refusal import RefusedEntry
from models.appends import Key
from models.message import Message, Thread
from models.records import address_of
from storage.redis import keys
from storage.redis.pending_log import CommittedBatch, HiddenEntry, LogEntry, SettledEntry
from storage.redis.states import Lifetime


class Item(NamedTuple):
    """A message and the entry it stands in."""

    entry: LogEntry
    message: Message


class DrainOutcome:
    """The entries of one transaction by what became of them: `stored` (as new or older), `hidden`
    messages, `threads` and `refused`."""

    def __init__(self) -> None:
        self.stored: list[Item] = []
        self.hidden: list[Item] = []
        self.threads: list[tuple[LogEntry, Thread]] = []
        self.refused: list[RefusedEntry] = []

    def take(self, items: Sequence[Item], hidden: Collection[str]) -> None:
        """Notes messages that PostgreSQL has taken, or left out because they are hidden."""
        for item in items:
            (self.hidden if item.message.id in hidden else self.stored).append(item)

    def keys(self) -> list[tuple[Key, str]]:
        """The Idempotency-Keys of what was stored, with the messages they made."""
        return [
            (Key(message.user_id, message.thread_id, entry.key), message.id)
            for entry, message in self.stored
            if entry.key is not None
        ]

    def committed(
        self, slot: int, entry_ids: Sequence[str], states: Mapping[str, Lifetime]
    ) -> CommittedBatch:
        """What the log is to settle of one slot."""
        versions: dict[str, int] = {}
        watermarks: dict[str, str] = {}
        for entry, message in self.stored:
            if entry.slot == slot:
                key = keys.message(slot, message.id)
                versions[key] = max(message.version, versions.get(key, 0))
        for entry, thread in self.threads:
            if entry.slot == slot:
                key = keys.thread(slot, thread.user_id, thread.id)
                versions[key] = max(thread.version, versions.get(key, 0))
                if thread.deleted_through:
                    mark = keys.watermark(slot, thread.user_id, thread.id)
                    watermarks[mark] = thread.deleted_through
        settled = self._settled(slot)
        known = {one.entry_id for entries in settled.values() for one in entries}
        left = [name for name in entry_ids if name not in known]
        indexes = sorted({_index(slot, one) for one in self._messages(slot)})
        dropped = {one.message.id: one.message for one in self.hidden if one.entry.slot == slot}
        return CommittedBatch(
            slot,
            left,
            versions,
            indexes,
            watermarks,
            settled,
            states,
            [HiddenEntry(name, _index(slot, message)) for name, message in dropped.items()],
        )

    def _messages(self, slot: int) -> Iterator[Message]:
        return (one.message for one in (*self.stored, *self.hidden) if one.entry.slot == slot)

    def _settled(self, slot: int) -> dict[str, list[SettledEntry]]:
        """The slot's entries by user, as far as they say whose they are."""
        settled: dict[str, list[SettledEntry]] = defaultdict(list)
        for entry, message in self.stored:
            if entry.slot == slot:
                done = SettledEntry(entry.entry_id, message.thread_id, message.id, message.version)
                settled[message.user_id].append(done)
        for entry, message in self.hidden:
            if entry.slot == slot:
                settled[message.user_id].append(SettledEntry(entry.entry_id, message.thread_id))
        for entry, thread in self.threads:
            if entry.slot == slot:
                settled[thread.user_id].append(SettledEntry(entry.entry_id, thread.id))
        for entry, _ in self.refused:
            address = address_of(entry.kind, entry.record)
            if entry.kind == "state" or entry.slot != slot:
                continue
            if address.user_id and address.thread_id:
                settled[address.user_id].append(SettledEntry(entry.entry_id, address.thread_id))
        return settled


def _index(slot: int, message: Message) -> str:
    return keys.index(slot, message.user_id, message.thread_id)
