"""The state of a user's session or of an agent's run: its shape, and what may be in it.

A state is kept as the JSON text it came as, without the white space between its tokens: no number
and no escape is written anew on its way through the tiers.
"""

from typing import Any, Literal, NamedTuple

import msgspec

from models.message import NAME, PATH_SEGMENTS, UNASKABLE, InvalidMessage, check_json

Kind = Literal["session", "run"]
Level = Literal["auto", "critical", "full"]
"""Which tiers have a state before it is acknowledged: Redis, PostgreSQL too, or all three."""

MAX_STATE_BYTES = 256 * 1024
MAX_STATE_DEPTH = 32
MAX_TTL_SECONDS = 365 * 86_400
EMPTY = msgspec.Raw(b"{}")


class StateName(NamedTuple):
    """Whose state it is, and of which run; a session has no name of its own."""

    kind: Kind
    user_id: str
    name: str


class StateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a state, the same in every tier.

    Times are RFC 3339 text in UTC with six digits. A tombstone has `deleted_at` and an empty state.
    `is_checkpoint`: this version stays in the history of its run. `cleared_through`: checkpoints up
    to this version belong to a life of the run that was deleted, or has expired.
    """

    # What Redis scripts read comes first, and what somebody wrote comes last.
    version: int
    updated_at: str
    kind: Kind
    user_id: str
    name: str
    expires_at: str | None
    deleted_at: str | None = None
    checkpoint: Level = "auto"
    is_checkpoint: bool = False
    cleared_through: int = 0
    state: msgspec.Raw

    @property
    def whose(self) -> StateName:
        """Whose it is."""
        return StateName(self.kind, self.user_id, self.name)

    def is_live(self, now: str) -> bool:
        """Whether it is shown at a moment."""
        return self.deleted_at is None and (self.expires_at is None or self.expires_at > now)

    def buried(self) -> "StateRecord":
        """The same version as a tombstone: how one is seen whose user was erased since."""
        return msgspec.structs.replace(
            self,
            state=EMPTY,
            deleted_at=self.updated_at,
            expires_at=None,
            cleared_through=self.version,
        )


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a run's state that is kept, without the state itself."""

    version: int
    checkpoint: Level
    created_at: str
    size_bytes: int


StoredCheckpoint = tuple[Checkpoint, msgspec.Raw]
"""A checkpoint and its state."""


class WholeCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a run's state that is kept."""

    version: int
    checkpoint: Level
    created_at: str
    state: msgspec.Raw


def compact(state: bytes) -> msgspec.Raw:
    """A state without the white space between its tokens."""
    return msgspec.Raw(msgspec.json.format(state, indent=-1))


def check_state(state: dict[str, Any], text: msgspec.Raw) -> None:
    """Refuses a state that is too large, too deep, or holds what no tier can keep."""
    check_json(state, "state", MAX_STATE_DEPTH)
    check_size(text)


def check_size(text: msgspec.Raw) -> None:
    """Refuses a state that is too large."""
    size = len(bytes(text))
    if size > MAX_STATE_BYTES:
        raise InvalidMessage(
            "state_too_large",
            f"state must have at most {MAX_STATE_BYTES} bytes as JSON, and has {size}",
        )


def check_run_id(run_id: str) -> None:
    """Refuses a run id outside the alphabet or length of thread ids."""
    if NAME.fullmatch(run_id) is None:
        raise InvalidMessage(
            "run_id_invalid", "a run id has 1 to 128 characters of A-Z a-z 0-9 . _ : -"
        )


def check_new_run_id(run_id: str) -> None:
    """Refuses what no new run may be called, as threads may not."""
    check_run_id(run_id)
    if run_id in PATH_SEGMENTS:
        raise InvalidMessage("run_id_invalid", f"a run {UNASKABLE}")


def merged(target: msgspec.Raw, patch: msgspec.Raw) -> msgspec.Raw:
    """A merge patch (RFC 7396) applied. What it does not name keeps its text."""
    given = _fields(patch)
    if given is None:
        return patch
    result = _fields(target) or {}
    for name, value in given.items():
        if bytes(value) == b"null":
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name, EMPTY), value)
    return msgspec.Raw(msgspec.json.encode(result))


def _fields(value: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """The fields of an object; None for what is none."""
    text = bytes(value)
    return msgspec.json.decode(text, type=dict[str, msgspec.Raw]) if text[:1] == b"{" else None
