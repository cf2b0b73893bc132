"""One transaction's worth of log entries: written together, and what is refused kept as letters."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection

from jobs.persist.kinds import KINDS, Item, Kind
from jobs.persist.outcome import DrainOutcome, RefusedEntry
from models import codec
from storage.postgres import writes
from storage.postgres.driver import in_halves
from storage.postgres.partitions import Partitions
from storage.redis.pending_log import LogEntry


class Batch:
    """Writes entries in the caller's transaction; `outcome` is what became of them, and `written`
    counts the messages and states that were newer than before."""

    def __init__(self, connection: Connection, partitions: Partitions) -> None:
        self._connection = connection
        self._partitions = partitions
        self.outcome = DrainOutcome()
        self.written = 0

    def write(self, entries: Sequence[LogEntry]) -> None:
        """Writes what PostgreSQL takes of these, and has a dead letter of each other."""
        items: dict[str, list[Item]] = {kind: [] for kind in KINDS}
        for entry in entries:
            try:
                if entry.kind not in KINDS:
                    raise codec.Corrupt("an entry of no known kind")
                items[entry.kind].append(Item(entry, KINDS[entry.kind].decode(entry.record)))
            except codec.Corrupt as error:
                self._refuse(entry, str(error))
        self._partitions.ensure_for(item.record.id for item in items["message"])
        for name, found in items.items():
            if found:
                in_halves(
                    self._connection,
                    found,
                    partial(self._write, KINDS[name]),
                    lambda item, reason: self._refuse(item.entry, reason),
                )

    def _write(self, kind: Kind, items: Sequence[Item]) -> None:
        written, hidden = kind.write(self._connection, items)
        self.written += written
        self.outcome.take(items, hidden)

    def _refuse(self, entry: LogEntry, reason: str) -> None:
        writes.add_dead_letter(
            self._connection, entry.slot, entry.entry_id, entry.kind, entry.record, reason
        )
        self.outcome.refused.append(RefusedEntry(entry, reason))
