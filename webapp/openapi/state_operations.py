"""The calls of sessions and runs, for the API's description."""

from models.state import WholeCheckpoint
from webapp.api.states import (
    CheckpointPage,
    PatchSession,
    PutRunState,
    PutSession,
    RunState,
    SavedRunState,
    SavedSession,
    SessionState,
)
from webapp.http.operation import Operation

_SESSION = "/api/session"
_STATE = "/api/runs/{run_id}/state"
_CHECKPOINTS = "/api/runs/{run_id}/checkpoints"
_CHECKPOINT = _CHECKPOINTS + "/{version}"
_IF_MATCH = ("If-Match",)
_IF_NONE_MATCH = ("If-None-Match",)
_BOTH = ("If-Match", "If-None-Match")

STATE_OPERATIONS = (
    Operation(
        "get", _SESSION, "get_session", "Your session's state", {200: SessionState},
        headers=_IF_NONE_MATCH, errors=(404,),
    ),
    Operation(
        "put", _SESSION, "put_session", "Replace your session's state",
        {200: SavedSession}, PutSession, headers=_BOTH, errors=(409, 422),
    ),
    Operation(
        "patch", _SESSION, "patch_session", "Merge into your session's state (RFC 7396)",
        {200: SavedSession}, PatchSession, headers=_IF_MATCH, errors=(409, 422),
    ),
    Operation(
        "delete", _SESSION, "delete_session", "Delete your session's state",
        {204: None}, headers=_IF_MATCH, errors=(404, 409),
    ),
    Operation(
        "get", _STATE, "get_run_state", "The state of a run",
        {200: RunState}, headers=_IF_NONE_MATCH, errors=(404,),
    ),
    Operation(
        "put", _STATE, "put_run_state", "Save the state of a run as its next version",
        {200: SavedRunState}, PutRunState, headers=_BOTH, errors=(409, 422),
    ),
    Operation(
        "delete", _STATE, "delete_run_state", "Delete the state of a run, and its checkpoints",
        {204: None}, headers=_IF_MATCH, errors=(404, 409, 422),
    ),
    Operation(
        "get", _CHECKPOINTS, "list_checkpoints", "Checkpoints of a run, newest first",
        {200: CheckpointPage}, query=("limit", "cursor"), errors=(404, 422),
    ),
    Operation(
        "get", _CHECKPOINT, "get_checkpoint", "One checkpoint, whole",
        {200: WholeCheckpoint}, headers=_IF_NONE_MATCH, errors=(404,),
    ),
    Operation(
        "post", _CHECKPOINT + "/restore", "restore_checkpoint",
        "Save a checkpoint's state as the newest version",
        {200: SavedRunState}, errors=(404, 422),
    ),
)  # fmt: skip
