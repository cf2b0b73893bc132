"""The states of sessions and of agents' runs."""

from datetime import datetime
from typing import Any

import msgspec

from threadkeep_client.answers.pages import Page


class State(msgspec.Struct, kw_only=True, frozen=True):
    """A state that was read. `expires_at` is None where it lasts."""

    state: dict[str, Any]
    version: int
    updated_at: datetime
    expires_at: datetime | None
    retrieval_source: str
    latency_ms: float
    warning: str | None = None


class SavedState(msgspec.Struct, kw_only=True, frozen=True):
    """A state that was written, and the tiers that have it."""

    state: dict[str, Any]
    version: int
    updated_at: datetime
    expires_at: datetime | None
    tier_used: str
    tiers: list[str]
    durability: str
    background_persistence: bool
    latency_ms: float
    failover_reason: str | None = None
    warning: str | None = None


class RunState(State, kw_only=True, frozen=True):
    """The state of a run."""

    run_id: str


class SavedRunState(SavedState, kw_only=True, frozen=True):
    """The state of a run that was written. `checkpoint` is the level that was asked for."""

    run_id: str
    checkpoint: str


class Checkpoint(msgspec.Struct, kw_only=True, frozen=True):
    """A version of a run's state that is kept."""

    version: int
    checkpoint: str
    created_at: datetime
    size_bytes: int


class WholeCheckpoint(msgspec.Struct, kw_only=True, frozen=True):
    """A checkpoint with its state."""

    version: int
    checkpoint: str
    created_at: datetime
    state: dict[str, Any]


class CheckpointPage(Page[Checkpoint], kw_only=True, frozen=True):
    """A page of a run's checkpoints, newest first."""

    checkpoints: list[Checkpoint]

    @property
    def items(self) -> list[Checkpoint]:
        """The checkpoints."""
        return self.checkpoints
