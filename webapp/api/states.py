"""The shapes of sessions and runs, and what both kinds of routes share."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from models.message import Caveat, Durability, FailoverReason, Tier
from models.state import MAX_TTL_SECONDS, Checkpoint, Level, check_state, compact
from storage.states.service import StateAnswer, StateRead
from webapp.http.body.reading import decode
from webapp.http.context import web
from webapp.http.requests import latency_ms
from webapp.http.schemas import RequestBody

State = Annotated[
    Raw,
    Meta(
        description="A JSON object, at most 256 KiB and 32 levels deep, kept value for value.",
        extra_json_schema={"type": "object"},
    ),
]
Version = Annotated[
    Annotated[int, Meta(ge=0)] | None,
    Meta(description="The version that this replaces; 0 where there must be none yet."),
]
Seconds = Annotated[
    int,
    Meta(ge=1, le=MAX_TTL_SECONDS, description="How long it is valid; null for ever."),
]


class PutSession(RequestBody, kw_only=True, frozen=True):
    """A session's whole state."""

    state: State
    version: Version = None
    ttl_seconds: Seconds | UnsetType | None = UNSET


class PatchSession(RequestBody, kw_only=True, frozen=True):
    """What changes in a session's state, as a merge patch: null takes a field away."""

    state: State
    version: Version = None
    ttl_seconds: Seconds | UnsetType | None = UNSET


class PutRunState(RequestBody, kw_only=True, frozen=True):
    """A run's whole state, and which tiers are to have it before the answer: `auto` Redis,
    `critical` PostgreSQL too, `full` all three."""

    state: State
    version: Version = None
    ttl_seconds: Seconds | UnsetType | None = UNSET
    checkpoint: Level = "auto"


class SessionState(msgspec.Struct, kw_only=True, frozen=True):
    """A session's state, and where it was found."""

    state: State
    version: int
    updated_at: str
    expires_at: str | None
    retrieval_source: Tier
    latency_ms: float
    warning: Caveat | UnsetType = UNSET


class RunState(SessionState, kw_only=True, frozen=True):
    """A run's state, and where it was found."""

    run_id: str


class SavedSession(msgspec.Struct, kw_only=True, frozen=True):
    """A session's state as acknowledged: the tier that took it, the tiers that have it, and the
    durability of the strongest. `background_persistence`: workers still carry it to the others."""

    state: State
    version: int
    updated_at: str
    expires_at: str | None
    tier_used: Tier
    tiers: list[Tier]
    durability: Durability
    background_persistence: bool
    latency_ms: float
    failover_reason: FailoverReason | UnsetType = UNSET
    warning: Caveat | UnsetType = UNSET


class SavedRunState(SavedSession, kw_only=True, frozen=True):
    """A run's state as acknowledged."""

    run_id: str
    checkpoint: Level


class CheckpointPage(msgspec.Struct, kw_only=True, frozen=True):
    """Checkpoints, newest first; `next_cursor` is null at the end."""

    checkpoints: list[Checkpoint]
    next_cursor: str | None


def given_state(given: Raw) -> Raw:
    """A state, or a patch of one, as it is stored. Raises `BadRequest`, `InvalidMessage`."""
    text = bytes(given)
    fields = decode(text, dict[str, Any], at="$.state")
    kept = compact(text)
    check_state(fields, kept)
    return kept


def read_fields(read: StateRead) -> dict[str, Any]:
    """The members that an answer to a read has of a state."""
    return {
        "state": read.record.state,
        "version": read.record.version,
        "updated_at": read.record.updated_at,
        "expires_at": read.record.expires_at,
        "retrieval_source": read.source,
        "latency_ms": latency_ms(),
        "warning": read.warning or UNSET,
    }


def saved_fields(saved: StateAnswer) -> dict[str, Any]:
    """The members that an acknowledgement has of a state; wakes a worker."""
    web().wake(saved.wake_slot)
    return {
        "state": saved.record.state,
        "version": saved.record.version,
        "updated_at": saved.record.updated_at,
        "expires_at": saved.record.expires_at,
        "tier_used": saved.tier_used,
        "tiers": saved.tiers,
        "durability": saved.durability,
        "background_persistence": "clickhouse" not in saved.tiers,
        "latency_ms": latency_ms(),
        "failover_reason": saved.failover_reason or UNSET,
        "warning": saved.warning or UNSET,
    }
