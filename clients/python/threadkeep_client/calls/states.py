"""Calls about the states of sessions and of agents' runs.

With `version` a write replaces that version alone, 0 meaning that there is none yet; else
`VersionConflict`. `ttl_seconds` is how long it is valid from this write on: as the server is set
if left out, for ever if None.
"""

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from threadkeep_client.answers.states import (
    CheckpointPage,
    RunState,
    SavedRunState,
    SavedState,
    State,
    WholeCheckpoint,
)
from threadkeep_client.calls.call import Call, body, if_version, path, query


def get_session() -> Call[State]:
    """Reads the user's session."""
    return Call("GET", path("session"), State)


def put_session(
    state: dict[str, Any],
    *,
    version: int | None = None,
    ttl_seconds: int | UnsetType | None = UNSET,
) -> Call[SavedState]:
    """Replaces the user's session."""
    given = body(state=state, version=version, ttl_seconds=ttl_seconds)
    return Call("PUT", path("session"), SavedState, body=given)


def patch_session(
    state: dict[str, Any],
    *,
    version: int | None = None,
    ttl_seconds: int | UnsetType | None = UNSET,
) -> Call[SavedState]:
    """Merges into the user's session (RFC 7396): a member that is None is removed."""
    given = body(state=state, version=version, ttl_seconds=ttl_seconds)
    return Call("PATCH", path("session"), SavedState, body=given)


def delete_session(*, version: int | None = None) -> Call[None]:
    """Deletes the user's session."""
    return Call("DELETE", path("session"), type(None), headers=if_version(version))


def get_run_state(run_id: str) -> Call[RunState]:
    """Reads the state of a run."""
    return Call("GET", path("runs", run_id, "state"), RunState)


def put_run_state(
    run_id: str,
    state: dict[str, Any],
    *,
    version: int | None = None,
    ttl_seconds: int | UnsetType | None = UNSET,
    checkpoint: Literal["auto", "critical", "full"] = "auto",
) -> Call[SavedRunState]:
    """Replaces the state of a run. `critical` waits for PostgreSQL, `full` for every tier."""
    given = body(state=state, version=version, ttl_seconds=ttl_seconds, checkpoint=checkpoint)
    return Call("PUT", path("runs", run_id, "state"), SavedRunState, body=given)


def delete_run_state(run_id: str, *, version: int | None = None) -> Call[None]:
    """Deletes the state of a run, with its checkpoints."""
    address = path("runs", run_id, "state")
    return Call("DELETE", address, type(None), headers=if_version(version))


def list_checkpoints(
    run_id: str, *, limit: int = 50, cursor: str | None = None
) -> Call[CheckpointPage]:
    """The kept versions of a run's state in pages of `limit` (1 to 1000), newest first."""
    address = path("runs", run_id, "checkpoints")
    return Call("GET", address, CheckpointPage, query=query(limit=limit, cursor=cursor))


def get_checkpoint(run_id: str, version: int) -> Call[WholeCheckpoint]:
    """Reads a kept version of a run's state."""
    return Call("GET", path("runs", run_id, "checkpoints", str(version)), WholeCheckpoint)


def restore_checkpoint(run_id: str, version: int) -> Call[SavedRunState]:
    """Makes a kept version the newest."""
    address = path("runs", run_id, "checkpoints", str(version), "restore")
    return Call("POST", address, SavedRunState)
