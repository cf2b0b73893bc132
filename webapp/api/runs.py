"""The routes of agents' runs: their state, and its checkpoints."""

import re

from flask import Blueprint, Response, request

from models.state import StateName, WholeCheckpoint, check_new_run_id, check_run_id
from storage.errors import NotFound
from storage.states.service import MAX_VERSION, StateAnswer
from webapp.api.states import (
    CheckpointPage,
    PutRunState,
    RunState,
    SavedRunState,
    given_state,
    read_fields,
    saved_fields,
)
from webapp.http.body.reading import body_as
from webapp.http.conditions import answer_tagged, etag, expected_version, unless_known
from webapp.http.context import caller, web
from webapp.http.operation import PAGE, Operation
from webapp.http.requests import answer, answer_page, query_limit, wrong_cursor

blueprint = Blueprint("runs", __name__, url_prefix="/api/runs")

_VERSION = re.compile("[0-9]{1,19}")


@Operation("The state of a run", {200: RunState}, headers=("If-None-Match",), errors=(404,))
@blueprint.get("/<run_id>/state")
def get_run_state(run_id: str) -> Response:
    """The newest state of an agent's run; 404 where there is none."""
    read = web().services.states.get(_whose(run_id))
    state = RunState(run_id=run_id, **read_fields(read))
    return unless_known(answer(state, headers=etag(read.record.version)))


@Operation(
    "Save the state of a run as its next version",
    {200: SavedRunState},
    PutRunState,
    headers=("If-Match", "If-None-Match"),
    errors=(409,),
)
@blueprint.put("/<run_id>/state")
def put_run_state(run_id: str) -> Response:
    """Writes the next version; 409 if `version` is not the newest, 412 if `If-Match` is not."""
    whose = _whose(run_id)
    check_new_run_id(run_id)
    body = body_as(PutRunState)
    saved = web().services.states.put(
        whose,
        given_state(body.state),
        expected_version=expected_version(body.version),
        ttl_seconds=body.ttl_seconds,
        level=body.checkpoint,
    )
    return _saved(saved)


@Operation(
    "Delete the state of a run, and its checkpoints",
    {204: None},
    headers=("If-Match",),
    errors=(404, 409),
)
@blueprint.delete("/<run_id>/state")
def delete_run_state(run_id: str) -> Response:
    """Deletes the state and its checkpoints: gone from reads at once."""
    saved = web().services.states.delete(_whose(run_id), expected_version=expected_version(None))
    web().wake(saved.wake_slot)
    return Response(status=204)


@Operation("Checkpoints of a run, newest first", {200: CheckpointPage}, query=PAGE, errors=(404,))
@blueprint.get("/<run_id>/checkpoints")
def list_checkpoints(run_id: str) -> Response:
    """A page of the checkpoints of a run, without their states."""
    cursor = request.args.get("cursor") or None
    before = None if cursor is None else _version(cursor)
    if cursor is not None and before is None:
        raise wrong_cursor()
    found, following = web().services.states.checkpoints(
        _whose(run_id), limit=query_limit(), before=before
    )
    next_cursor = None if following is None else str(following)
    return answer_page(CheckpointPage(checkpoints=found, next_cursor=next_cursor))


@Operation(
    "One checkpoint with its state",
    {200: WholeCheckpoint},
    headers=("If-None-Match",),
    errors=(404,),
)
@blueprint.get("/<run_id>/checkpoints/<version>")
def get_checkpoint(run_id: str, version: str) -> Response:
    """A version of the state that was kept."""
    return answer_tagged(web().services.states.checkpoint(_whose(run_id), _known(version)))


@Operation("Save a checkpoint's state as the newest version", {200: SavedRunState}, errors=(404,))
@blueprint.post("/<run_id>/checkpoints/<version>/restore")
def restore_checkpoint(run_id: str, version: str) -> Response:
    """Writes the state of a checkpoint as the newest version."""
    return _saved(web().services.states.restore(_whose(run_id), _known(version)))


def _whose(run_id: str) -> StateName:
    check_run_id(run_id)
    return StateName("run", caller().user_id, run_id)


def _known(version: str) -> int:
    number = _version(version)
    if number is None:
        raise NotFound
    return number


def _version(text: str) -> int | None:
    number = int(text) if _VERSION.fullmatch(text) else MAX_VERSION + 1
    return number if number <= MAX_VERSION else None


def _saved(saved: StateAnswer) -> Response:
    record = saved.record
    state = SavedRunState(run_id=record.name, checkpoint=record.checkpoint, **saved_fields(saved))
    return answer(state, headers=etag(record.version))
