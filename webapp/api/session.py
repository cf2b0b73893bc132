"""The routes of the caller's session."""

from flask import Blueprint, Response

from models.state import StateName
from storage.states.service import StateAnswer
from webapp.api.states import (
    PatchSession,
    PutSession,
    SavedSession,
    SessionState,
    given_state,
    read_fields,
    saved_fields,
)
from webapp.http.body.reading import body_as
from webapp.http.conditions import etag, expected_version, unless_known
from webapp.http.context import caller, web
from webapp.http.operation import Operation
from webapp.http.requests import answer

blueprint = Blueprint("session", __name__, url_prefix="/api")


@Operation("Your session's state", {200: SessionState}, headers=("If-None-Match",), errors=(404,))
@blueprint.get("/session")
def get_session() -> Response:
    """The state that an application keeps for the caller; 404 where there is none."""
    read = web().services.states.get(_whose())
    found = answer(SessionState(**read_fields(read)), headers=etag(read.record.version))
    return unless_known(found)


@Operation(
    "Replace your session's state",
    {200: SavedSession},
    PutSession,
    headers=("If-Match", "If-None-Match"),
    errors=(409,),
)
@blueprint.put("/session")
def put_session() -> Response:
    """Replaces the whole state, as its next version."""
    body = body_as(PutSession)
    saved = web().services.states.put(
        _whose(),
        given_state(body.state),
        expected_version=expected_version(body.version),
        ttl_seconds=body.ttl_seconds,
    )
    return _saved(saved)


@Operation(
    "Merge into your session's state (RFC 7396)",
    {200: SavedSession},
    PatchSession,
    headers=("If-Match",),
    errors=(409,),
)
@blueprint.patch("/session")
def patch_session() -> Response:
    """Merges a patch; concurrent patches lose nothing of each other."""
    body = body_as(PatchSession)
    saved = web().services.states.patch(
        _whose(),
        given_state(body.state),
        expected_version=expected_version(body.version),
        ttl_seconds=body.ttl_seconds,
    )
    return _saved(saved)


@Operation("Delete your session's state", {204: None}, headers=("If-Match",), errors=(404, 409))
@blueprint.delete("/session")
def delete_session() -> Response:
    """Deletes the state: gone from reads at once."""
    saved = web().services.states.delete(_whose(), expected_version=expected_version(None))
    web().wake(saved.wake_slot)
    return Response(status=204)


def _whose() -> StateName:
    return StateName("session", caller().user_id, "")


def _saved(saved: StateAnswer) -> Response:
    return answer(SavedSession(**saved_fields(saved)), headers=etag(saved.record.version))
