"""What becomes of a refused write's copy in Redis, once somebody decided on the dead letter.

The copy of what was refused has no TTL: it was acknowledged, and nobody else keeps it.
"""

from models.records import Address
from storage.redis import keys
from storage.redis.driver import Script
from storage.redis.pending_log import CommittedBatch
from storage.redis.repair import distrust_floor
from storage.tiers import Tiers


class RefusedCopies:
    """The verbs of Redis that dead letters need. Errors leave as `TierError`."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._replace = Script(tiers.redis_door, "replace_version")
        self._withdraw = Script(tiers.redis_door, "withdraw")

    def ping(self) -> None:
        """Raises `TierUnavailable` if Redis does not answer."""
        self._tiers.redis.ping()

    def settle(self, slot: int, kind: str, address: Address, committed: CommittedBatch) -> None:
        """Makes the copy of a version that is committed now evictable."""
        self._tiers.pending_log.settle([committed])
        if kind == "message" and not self._is_listed(slot, address):
            # It came into PostgreSQL beside Redis, whose index never had it or has lost it.
            self._tiers.redis_repair.invalidate_indexes([_thread(address)])

    def replace(self, slot: int, kind: str, address: Address, record: bytes) -> None:
        """Puts a repaired record that is committed in the place of the refused copy."""
        key = _record_key(slot, kind, address)
        self._replace([key], [address.version, record, self._tiers.settings.hot_seconds])

    def withdraw(
        self, slot: int, kind: str, address: Address, watermark: str, *, older_below: bool
    ) -> bool:
        """Takes the copy and its index entry out; gives whether that very version was there.

        `older_below`: a lower tier may have an older version, which is to be read from there.
        """
        user_id, thread_id = _thread(address)
        if kind == "state":
            return bool(self._withdraw([_record_key(slot, kind, address)], [address.version]))
        index = keys.index(slot, user_id, thread_id)
        names = [
            _record_key(slot, kind, address),
            index,
            keys.watermark(slot, user_id, thread_id),
        ]
        floor = distrust_floor() if older_below else ""
        gone = self._withdraw(names, [address.version, address.message_id or "", watermark, floor])
        # The index may have waited for this copy alone before it could expire.
        self._tiers.pending_log.settle([CommittedBatch(slot, [], {}, [index], {})])
        return bool(gone)

    def _is_listed(self, slot: int, address: Address) -> bool:
        with self._tiers.redis_door.guarded() as client:
            found = client.zscore(keys.index(slot, *_thread(address)), address.message_id or "")
        return found is not None


def _thread(address: Address) -> tuple[str, str]:
    return address.user_id or "", address.thread_id or ""


def _record_key(slot: int, kind: str, address: Address) -> str:
    if kind == "message":
        return keys.message(slot, address.message_id or "")
    if kind == "state":
        return keys.state(slot, *_thread(address))
    return keys.thread(slot, *_thread(address))
