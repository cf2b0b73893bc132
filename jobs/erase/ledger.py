"""The erasures of users as PostgreSQL keeps them: who, by whom, up to where, and how far it is."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, text

from jobs.erase.receipt import Target, UserErasure
from models import codec
from storage.postgres.driver import rows_of, translated

CLAIM_SECONDS = 90
"""Longer than any one step takes; whoever works on an erasure renews its claim after each."""

RECOUNT_SECONDS = 60
RECOUNTED_SECONDS = 900
"""Longer than any write that was under way may take to land; each count waits twice as long."""

_LOAD = text("SELECT receipt, finished_at FROM user_erasures WHERE user_id = :user_id")
_MARK = text(
    """
INSERT INTO user_erasures (user_id, erased_through, erased_at, requested_by, requested_at, receipt)
VALUES (:user_id, :erased_through, :moment, :requested_by, :requested_at, :receipt)
ON CONFLICT (user_id) DO UPDATE SET
    erased_through = excluded.erased_through, erased_at = excluded.erased_at,
    requested_by = excluded.requested_by, requested_at = excluded.requested_at,
    receipt = excluded.receipt, finished_at = NULL, looked_at = NULL, claimed_until = '-infinity'
"""
)
_CLAIM = text(
    """
UPDATE user_erasures SET claimed_until = clock_timestamp() + make_interval(secs => :seconds)
WHERE user_id = :user_id AND claimed_until < clock_timestamp() RETURNING receipt, finished_at
"""
)
_SAVE = text(
    """
UPDATE user_erasures SET receipt = :receipt, finished_at = CAST(:finished_at AS timestamptz),
    looked_at = CASE WHEN :release THEN clock_timestamp() ELSE looked_at END,
    claimed_until = CASE WHEN :release THEN '-infinity'
                         ELSE clock_timestamp() + make_interval(secs => :seconds) END
WHERE user_id = :user_id AND erased_through = :erased_through
"""
)
# Those that are to be finished, and those of late: what was under way then may have landed since.
_DUE = text(
    """
SELECT user_id FROM user_erasures WHERE claimed_until < clock_timestamp() AND (
    finished_at IS NULL
    OR (looked_at < finished_at + make_interval(secs => :for_seconds)
        OR json_array_length(receipt -> 'to_vacuum') > 0)
       AND looked_at + greatest(make_interval(secs => :again), looked_at - finished_at)
           < clock_timestamp())
ORDER BY looked_at NULLS FIRST, user_id LIMIT 100
"""
)


class ErasureLedger:
    """The table of erasures over one engine. Raises `TierUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self, user_id: str) -> UserErasure | None:
        """The newest receipt of a user."""
        found = rows_of(self._engine, _LOAD, {"user_id": user_id})
        return _receipt(found[0]) if found else None

    def mark(self, connection: Connection, erasure: UserErasure, target: Target) -> None:
        """Begins an erasure, in the caller's transaction."""
        connection.execute(_MARK, _values(erasure) | {"moment": target.moment})

    def claim(self, user_id: str) -> UserErasure | None:
        """The receipt, to be worked on by this caller alone; None while somebody else does."""
        values = {"user_id": user_id, "seconds": CLAIM_SECONDS}
        found = rows_of(self._engine, _CLAIM, values)
        return _receipt(found[0]) if found else None

    def save(self, erasure: UserErasure, *, release: bool = False) -> None:
        """Keeps a receipt, and the claim, or gives it up."""
        with translated(), self._engine.begin() as connection:
            self.save_in(connection, erasure, release=release)

    def save_in(self, connection: Connection, erasure: UserErasure, *, release: bool) -> None:
        """Likewise in the caller's transaction."""
        connection.execute(_SAVE, _values(erasure) | {"release": release, "seconds": CLAIM_SECONDS})

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
