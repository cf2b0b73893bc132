"""The routes of threads."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, cast

import msgspec
from flask import Blueprint, Response, request
from msgspec import Meta

from models import ids
from models.message import (
    ThreadSummary,
    check_metadata,
    check_new_thread_id,
    check_thread_id,
    check_title,
)
from storage.threads.page import ThreadList, ThreadQuery
from storage.threads.service import ThreadChange
from webapp.http.conditions import answer_tagged
from webapp.http.context import caller, web
from webapp.http.errors import BadRequest
from webapp.http.json_answer import JsonAnswer
from webapp.http.operation import PAGE, Operation
from webapp.http.requests import answer, body_as, latency_ms, query_flag, query_limit, wrong_cursor
from webapp.http.schemas import PatchThread, PostThread, ThreadPage

blueprint = Blueprint("threads", __name__, url_prefix="/api")


@Operation("Create a thread", {201: ThreadSummary}, PostThread, errors=(409,))
@blueprint.post("/threads")
def create_thread() -> Response:
    """Creates a thread, 409 for an id that the caller already has."""
    body = body_as(PostThread)
    if body.id is not None:
        check_new_thread_id(body.id)
    check_title(body.title)
    check_metadata(body.metadata)
    service = web().services.threads
    return _changed(service.create(caller().user_id, body.id, body.title, body.metadata), 201)


@Operation(
    "List your threads, most recently active first",
    {200: ThreadPage},
    query=(*PAGE, "is_archived", "is_pinned"),
)
@blueprint.get("/threads")
def list_threads() -> Response:
    """The caller's threads, most recently active first."""
    query = ThreadQuery(
        query_limit(),
        _cursor(),
        is_archived=query_flag("is_archived"),
        is_pinned=query_flag("is_pinned"),
    )
    listed = web().services.thread_cache_manager.page(caller().user_id, query)
    headers, content = list_answer(listed, latency_ms())
    return JsonAnswer(content, headers=headers)


@Operation("One thread", {200: ThreadSummary}, headers=("If-None-Match",), errors=(404,))
@blueprint.get("/threads/<thread_id>")
def get_thread(thread_id: str) -> Response:
    """One thread."""
    check_thread_id(thread_id)
    return answer_tagged(web().services.threads.get(caller().user_id, thread_id))


@Operation(
    "Change a thread's title, metadata or marks", {200: ThreadSummary}, PatchThread, errors=(404,)
)
@blueprint.patch("/threads/<thread_id>")
def change_thread(thread_id: str) -> Response:
    """Changes title, metadata or marks."""
    check_thread_id(thread_id)
    body = body_as(PatchThread)
    if body == PatchThread():
        given = "give title, metadata, is_pinned or is_archived"
        raise BadRequest(422, "nothing_to_change", given)
    if not isinstance(body.title, msgspec.UnsetType):
        check_title(body.title)
    if not isinstance(body.metadata, msgspec.UnsetType):
        check_metadata(body.metadata)
    service = web().services.threads
    return _changed(
        service.change(
            caller().user_id,
            thread_id,
            title=body.title,
            metadata=body.metadata,
            is_pinned=body.is_pinned,
            is_archived=body.is_archived,
        )
    )


@Operation("Delete a thread and all its messages", {204: None}, errors=(404,))
@blueprint.delete("/threads/<thread_id>")
def delete_thread(thread_id: str) -> Response:
    """Deletes a thread: gone from reads at once, erased from every tier later."""
    check_thread_id(thread_id)
    change = web().services.threads.delete(caller().user_id, thread_id)
    web().wake(change.wake_slot)
    return Response(status=204)


def list_answer(listed: ThreadList, took_ms: float) -> tuple[dict[str, str], bytes]:
    """The headers and the body of the answer with a list of threads."""
    body = ThreadPage(
        # A JSON array already, which is not read and written again.
        threads=cast(list[ThreadSummary], listed.written),
        next_cursor=_cursor_text(listed.following),
        retrieval_source=listed.source,
        latency_ms=took_ms,
        warning=listed.warning or msgspec.UNSET,
    )
    return {}, msgspec.json.encode(body)


def _changed(change: ThreadChange, status: int = 200) -> Response:
    web().wake(change.wake_slot)
    return answer(change.thread, status)


def _cursor() -> tuple[str, str] | None:
    given = request.args.get("cursor")
    if not given:
        return None
    try:
        activity, thread_id = msgspec.json.decode(
            base64.urlsafe_b64decode(given.encode()), type=tuple[str, str]
        )
        moment = msgspec.convert(activity, type=Annotated[datetime, Meta(tz=True)])
        activity = ids.timestamp(ids.time_us(moment))
        check_thread_id(thread_id)
    except (binascii.Error, ValueError, OverflowError, msgspec.MsgspecError):
        raise wrong_cursor() from None
    return activity, thread_id


def _cursor_text(position: tuple[str, str] | None) -> str | None:
    if position is None:
        return None
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode()
