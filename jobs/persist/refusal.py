"""An entry of the log that PostgreSQL will not take."""

from typing import NamedTuple

from models.records import address_of
from storage.postgres.driver import headline
from storage.redis.pending_log import LogEntry


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
