"""What the erasure of a user has removed, where, and what is left of it in files; and the table of
erasures: who, by whom, up to where, and how far each is."""

from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, Row

from jobs.erase.chain_stump import ChainStump
from models import codec, ids
from models.message import Tier
from models.records import address_of, created_at
from storage.postgres.driver import execute, rows_of, transact

EraseState = Literal["pending", "done"]

CLAIM_SECONDS = 90
"""Longer than any one step takes; whoever works on an erasure renews its claim after each."""

RECOUNT_SECONDS = 60
RECOUNTED_SECONDS = 900
"""Longer than any write that was under way may take to land; each count waits twice as long."""

_LOAD = "SELECT receipt, finished_at FROM user_erasures WHERE user_id = :user_id"
_MARK = """
INSERT INTO user_erasures (user_id, erased_through, erased_at, requested_by, requested_at, receipt)
VALUES (:user_id, :erased_through, :moment, :requested_by, :requested_at, :receipt)
ON CONFLICT (user_id) DO UPDATE SET
    erased_through = excluded.erased_through, erased_at = excluded.erased_at,
    requested_by = excluded.requested_by, requested_at = excluded.requested_at,
    receipt = excluded.receipt, finished_at = NULL, looked_at = NULL, claimed_until = '-infinity'
"""
_CLAIM = """
UPDATE user_erasures SET claimed_until = clock_timestamp() + make_interval(secs => :seconds)
WHERE user_id = :user_id AND claimed_until < clock_timestamp() RETURNING receipt, finished_at
"""
_SAVE = """
UPDATE user_erasures SET receipt = :receipt, finished_at = CAST(:finished_at AS timestamptz),
    looked_at = CASE WHEN :release THEN clock_timestamp() ELSE looked_at END,
    claimed_until = CASE WHEN :release THEN '-infinity'
                         ELSE clock_timestamp() + make_interval(secs => :seconds) END
WHERE user_id = :user_id AND erased_through = :erased_through
"""
# Those that are to be finished, and those of late: what was under way then may have landed since.
_DUE = """
SELECT user_id FROM user_erasures WHERE claimed_until < clock_timestamp() AND (
    finished_at IS NULL
    OR (looked_at < finished_at + make_interval(secs => :for_seconds)
        OR json_array_length(receipt -> 'to_vacuum') > 0)
       AND looked_at + greatest(make_interval(secs => :again), looked_at - finished_at)
           < clock_timestamp())
ORDER BY looked_at NULLS FIRST, user_id LIMIT 100
"""


class UserErasure(msgspec.Struct, kw_only=True, frozen=True):
    """The receipt of an erasure. Where `state` is `done`, everything of the user with an id at or
    below `erased_through` is gone; while `pending`, `waits_for` says why for each tier in the way.
    `removed` counts by tier and kind, `files` says what a tier's files may still hold in space that
    no query reaches, `to_vacuum` names tables of PostgreSQL. `seconds` is work, not waiting;
    `chains` is what is left of the user's hash chains, as they were when it was requested; None
    in receipts from before there were chains."""

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
    chains: ChainStump | None = None

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


class ErasureLedger:
    """The table of erasures over one engine. Raises `TierUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self, user_id: str) -> UserErasure | None:
        """The newest receipt of a user."""
        found = rows_of(self._engine, _LOAD, user_id=user_id)
        return _receipt(found[0]) if found else None

    def mark(self, connection: Connection, erasure: UserErasure, target: Target) -> None:
        """Begins an erasure, in the caller's transaction."""
        execute(connection, _MARK, _values(erasure) | {"moment": target.moment})

    def claim(self, user_id: str) -> UserErasure | None:
        """The receipt, to be worked on by this caller alone; None while somebody else does."""
        found = rows_of(self._engine, _CLAIM, user_id=user_id, seconds=CLAIM_SECONDS)
        return _receipt(found[0]) if found else None

    def save(
        self, erasure: UserErasure, within: Connection | None = None, *, release: bool = False
    ) -> None:
        """Keeps a receipt, and the claim, or gives it up; in the caller's transaction if given."""
        values = _values(erasure) | {"release": release, "seconds": CLAIM_SECONDS}
        if within is not None:
            execute(within, _SAVE, values)
            return
        transact(self._engine, execute, _SAVE, values)

    def due(self) -> list[str]:
        """Whose erasure somebody should work on."""
        values = {"again": RECOUNT_SECONDS, "for_seconds": RECOUNTED_SECONDS}
        return [row.user_id for row in rows_of(self._engine, _DUE, values)]


def _values(erasure: UserErasure) -> dict[str, Any]:
    receipt = codec.text(erasure)
    return msgspec.structs.asdict(erasure) | {"receipt": receipt}


def _receipt(row: Row[Any]) -> UserErasure:
    receipt = msgspec.convert(row.receipt, type=UserErasure)
    if row.finished_at is None and receipt.state == "done":
        # Something of the user has come since, and was refused: it is counted again.
        return msgspec.structs.replace(receipt, state="pending")
    return receipt
