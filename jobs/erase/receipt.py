"""What the erasure of a user has removed, where, and what is left of it in files."""

from typing import Literal, NamedTuple

import msgspec

from models import ids
from models.message import Tier
from models.records import address_of, created_at

EraseState = Literal["pending", "done"]


class UserErasure(msgspec.Struct, kw_only=True, frozen=True):
    """The receipt of an erasure. Where `state` is `done`, everything of the user with an id at or
    below `erased_through` is gone; while `pending`, `waits_for` says why for each tier in the way.
    `removed` counts by tier and kind, `files` says what a tier's files may still hold in space that
    no query reaches, `to_vacuum` names tables of PostgreSQL. `seconds` is work, not waiting."""

    user_id: str
    state: EraseState
    erased_through: str
    requested_by: str
    requested_at: str
    finished_at: str | None = None
    seconds: float = 0.0
    removed: dict[Tier, dict[str, int]] = {}
    waits_for: dict[Tier, str] = {}
    files: dict[Tier, str] = {}
    to_vacuum: list[str] = []

    def with_removed(self, tier: Tier, counts: dict[str, int]) -> "UserErasure":
        """The same with more that was taken out of a tier."""
        before = self.removed.get(tier, {})
        added = {kind: before.get(kind, 0) + count for kind, count in counts.items()}
        return msgspec.structs.replace(self, removed={**self.removed, tier: {**before, **added}})


class Target(NamedTuple):
    """Everything of a user with an id at or below a watermark, which ends a millisecond."""

    user_id: str
    through: str

    @property
    def moment(self) -> str:
        """The watermark's time, RFC 3339: threads that were created by then are to go."""
        return ids.timestamp(ids.time_us_of(self.through))

    def is_past(self, kind: str, record: bytes) -> bool:
        """Whether a record of the user's is of a message, thread or state that is to go."""
        name = address_of(kind, record).message_id
        return name <= self.through if name else created_at(record) <= self.moment

    def covers(self, kind: str, record: bytes) -> bool:
        """Whether a record is the user's, and is to go."""
        return address_of(kind, record).user_id == self.user_id and self.is_past(kind, record)
