"""The routes of retention policies and legal holds."""

import base64
import binascii
from collections.abc import Sequence

import msgspec
from flask import Blueprint, Response, request

from jobs.erase.policies import RetentionPolicy
from models.message import check_text, check_thread_id, check_user_id
from webapp.http.body.reading import body_as
from webapp.http.context import caller, web
from webapp.http.errors import BadRequest
from webapp.http.operation import PAGE, Operation
from webapp.http.requests import answer, answer_page, query_limit, wrong_cursor
from webapp.http.schemas import RequestBody

blueprint = Blueprint("retention", __name__, url_prefix="/retention")

MAX_KEEP_DAYS = 36_500


class SetRetention(RequestBody, kw_only=True, frozen=True):
    """A policy for a user, or for one thread of theirs; what is left out stays as it is.
    `keep_days` null keeps for ever; a policy without any setting left is removed."""

    user_id: str
    thread_id: str | None = None
    keep_days: int | msgspec.UnsetType | None = msgspec.UNSET
    legal_hold: bool | msgspec.UnsetType = msgspec.UNSET


class RetentionPage(msgspec.Struct, kw_only=True, frozen=True):
    """Policies by user and thread; `next_cursor` is null at the end."""

    policies: Sequence[RetentionPolicy]
    next_cursor: str | None


class RetentionSet(msgspec.Struct, kw_only=True, frozen=True):
    """The policy as it is now, null if it was removed."""

    policy: RetentionPolicy | None


@Operation("How long messages are kept, and what is on hold", {200: RetentionPage}, query=PAGE)
@blueprint.get("")
def list_policies() -> Response:
    """A page of the policies and holds, by user and thread."""
    shown, following = web().services.jobs.retention_policies.list(
        limit=query_limit(), cursor=_cursor()
    )
    next_cursor = None
    if following is not None:
        next_cursor = base64.urlsafe_b64encode(msgspec.json.encode(following)).decode()
    return answer_page(RetentionPage(policies=shown, next_cursor=next_cursor))


@Operation(
    "Set how long messages are kept, or a legal hold",
    {200: RetentionSet},
    SetRetention,
    errors=(409,),
)
@blueprint.put("")
def set_policy() -> Response:
    """Sets a policy or a hold; 409 for a hold on a user who is being erased."""
    body = body_as(SetRetention)
    _check(body.user_id, body.thread_id)
    if isinstance(body.keep_days, msgspec.UnsetType) and isinstance(
        body.legal_hold, msgspec.UnsetType
    ):
        raise BadRequest(422, "nothing_to_change", "give keep_days, legal_hold, or both")
    if isinstance(body.keep_days, int) and not 1 <= body.keep_days <= MAX_KEEP_DAYS:
        raise BadRequest(422, "invalid_body", f"keep_days is a number from 1 to {MAX_KEEP_DAYS}")
    policy = web().services.jobs.retention_policies.set(
        body.user_id,
        body.thread_id,
        keep_days=body.keep_days,
        legal_hold=body.legal_hold,
        by=caller().actor,
    )
    return answer(RetentionSet(policy=policy))


@Operation(
    "Remove a policy, including its hold",
    {200: RetentionPolicy},
    query=("user_id", "thread_id"),
    required=("user_id",),
    errors=(404,),
)
@blueprint.delete("")
def clear_policy() -> Response:
    """Removes a policy, including its hold; gives what it was."""
    user_id = request.args.get("user_id", "")
    thread_id = request.args.get("thread_id")
    _check(user_id, thread_id)
    service = web().services.jobs.retention_policies
    return answer(service.clear(user_id, thread_id, by=caller().actor))


def _check(user_id: str, thread_id: str | None) -> None:
    check_user_id(user_id)
    if thread_id is not None:
        check_thread_id(thread_id)


def _cursor() -> tuple[str, str] | None:
    given = request.args.get("cursor")
    if not given:
        return None
    try:
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(given.encode()), type=tuple[str, str])
        check_user_id(cursor[0])
        check_text(cursor[1], "cursor")
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise wrong_cursor() from None
    return cursor
