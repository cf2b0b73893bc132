"""The copy in Redis of a refused write, once an operator decided on the dead letter. Until then it
has no TTL: no other tier has it."""

from collections.abc import Sequence
from typing import NamedTuple

from models.records import Address
from storage.redis import keys
from storage.redis.driver import Script
from storage.redis.pending_log import CommittedBatch
from storage.redis.repair import distrust_floor
from storage.tiers import Tiers


class RefusedWrite(NamedTuple):
    """Which write was refused, and so where its copy in Redis is."""

    slot: int
    kind: str
    address: Address

    @property
    def thread(self) -> tuple[str, str]:
        """The user, and the thread or run."""
        return self.address.user_id or "", self.address.thread_id or ""

    @property
    def thread_index(self) -> str:
        """The key of its thread's index."""
        return keys.index(self.slot, *self.thread)

    @property
    def key(self) -> str:
        """The key of its own copy."""
        if self.kind == "message":
            return keys.message(self.slot, self.address.message_id or "")
        return (keys.state if self.kind == "state" else keys.thread)(self.slot, *self.thread)


class RefusedCopies:
    """Changes the copies of refused writes. Errors leave as `TierError`."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._replace = Script(tiers.redis_door, "replace_version")
        self._withdraw = Script(tiers.redis_door, "withdraw")

    def ping(self) -> None:
        """Raises `TierUnavailable` if Redis does not answer."""
        self._tiers.redis.ping()

    def settle(self, write: RefusedWrite, committed: Sequence[CommittedBatch]) -> None:
        """Makes the copy of a version that is committed now evictable."""
        self._tiers.pending_log.settle(committed)
        if write.kind == "message":
            entry = (write.thread_index, write.address.message_id or "")
            place = self._tiers.redis_door.ask(lambda client: client.zscore(*entry))
            if place is None:
                # It came into PostgreSQL beside Redis, whose index never had it or has lost it.
                self._tiers.redis_repair.invalidate_indexes([write.thread])

    def replace(self, write: RefusedWrite, record: bytes) -> None:
        """Puts a repaired record that is committed in the place of the refused copy."""
        arguments = [write.address.version, record, self._tiers.settings.hot_seconds]
        self._replace([write.key], arguments)

    def withdraw(self, write: RefusedWrite, watermark: str, *, older_below: bool) -> bool:
        """Deletes the copy and its index entry, if it is that version; gives whether it was.
        `older_below`: a lower tier may have an older version."""
        version, message_id = write.address.version, write.address.message_id or ""
        if write.kind == "state":
            return bool(self._withdraw([write.key], [version]))
        names = [write.key, write.thread_index, keys.watermark(write.slot, *write.thread)]
        floor = distrust_floor() if older_below else ""
        gone = self._withdraw(names, [version, message_id, watermark, floor])
        # The index may have waited for this copy alone before it could expire.
        self._tiers.pending_log.settle(
            [CommittedBatch(write.slot, [], {}, [write.thread_index], {})]
        )
        return bool(gone)
