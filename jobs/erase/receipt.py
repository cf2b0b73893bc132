"""What the erasure of a user has removed, where, and what is left of it in files."""

from typing import Literal, NamedTuple

import msgspec

from models import ids
from models.message import Tier

EraseState = Literal["pending", "done"]


class UserErasure(msgspec.Struct, kw_only=True, frozen=True):
    """The receipt of an erasure.

    Everything of the user with an id at or below `erased_through` is gone where `state` is `done`;
    while it is `pending`, `waits_for` says of each tier that is in the way why. `removed` counts by
    tier and kind what was taken out. `files` says of each tier what its files may still hold, in
    space that no query reaches, and `to_vacuum` names the tables of PostgreSQL that wait for it.
    `seconds` is the time of work, not of waiting.
    """

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
