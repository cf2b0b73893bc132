"""The routes of dead letters: writes that PostgreSQL refused, and what an admin decides."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from jobs.persist.dead_letters import DeadLetter, DeadLetterRecord, Discarded, Replayed
from storage.errors import NotFound
from webapp.http.body.reading import optional_body_as
from webapp.http.context import caller, web
from webapp.http.operation import PAGE, Operation
from webapp.http.requests import answer, answer_page, query_limit, wrong_cursor
from webapp.http.schemas import RequestBody

blueprint = Blueprint("dead_letters", __name__, url_prefix="/dead-letters")

# As many digits as PostgreSQL's bigint has.
_NUMBER = re.compile("[0-9]{1,18}")


class DeadLetterPage(msgspec.Struct, kw_only=True, frozen=True):
    """Refused writes, newest first; `next_cursor` is null at the end."""

    dead_letters: Sequence[DeadLetter]
    next_cursor: str | None


class ReplayDeadLetter(RequestBody, kw_only=True, frozen=True):
    """Without a record the letter's own is tried again. A repaired one, as JSON text or as an
    object, must be the same version of the same message; its hash is computed again."""

    record: str | dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


@Operation("Writes that PostgreSQL refused, newest first", {200: DeadLetterPage}, query=PAGE)
@blueprint.get("")
def list_dead_letters() -> Response:
    """The refused writes, newest first, without their content."""
    cursor = request.args.get("cursor") or None
    if cursor is not None and _NUMBER.fullmatch(cursor) is None:
        raise wrong_cursor()
    shown, following = web().services.jobs.dead_letters.list(
        limit=query_limit(), cursor=int(cursor) if cursor else None
    )
    next_cursor = None if following is None else str(following)
    return answer_page(DeadLetterPage(dead_letters=shown, next_cursor=next_cursor))


@Operation("One refused write with its content", {200: DeadLetterRecord}, errors=(404,))
@blueprint.get("/<letter_id>")
def get_dead_letter(letter_id: str) -> Response:
    """A refused write with its record, which may hold what somebody wrote."""
    service = web().services.jobs.dead_letters
    return answer(service.get(_number(letter_id), by=caller().actor))


@Operation(
    "Try a refused write again",
    {200: Replayed},
    ReplayDeadLetter,
    errors=(404, 409),
    optional_body=True,
)
@blueprint.post("/<letter_id>/replay")
def replay_dead_letter(letter_id: str) -> Response:
    """Tries it again, as it is or with a repaired record; 409 if it is refused again."""
    body = optional_body_as(ReplayDeadLetter)
    record = None if isinstance(body.record, msgspec.UnsetType) else _bytes(body.record)
    service = web().services.jobs.dead_letters
    return answer(service.replay(_number(letter_id), by=caller().actor, record=record))


@Operation("Discard a refused write", {200: Discarded}, errors=(404,))
@blueprint.delete("/<letter_id>")
def discard_dead_letter(letter_id: str) -> Response:
    """Gives up a refused write, and takes its version out of Redis."""
    service = web().services.jobs.dead_letters
    return answer(service.discard(_number(letter_id), by=caller().actor))


def _number(letter_id: str) -> int:
    if _NUMBER.fullmatch(letter_id) is None:
        raise NotFound
    return int(letter_id)


def _bytes(record: str | dict[str, object]) -> bytes:
    return record.encode() if isinstance(record, str) else msgspec.json.encode(record)
