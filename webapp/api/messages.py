"""The routes of messages."""

import time
from collections.abc import Sequence
from typing import cast

import msgspec
from flask import Blueprint, Response, request

from models import codec, ids
from models.caveats import Acknowledgement
from models.message import check_content, check_metadata, check_thread_id
from models.streams import state_of
from storage.errors import TierUnavailable
from storage.messages.hot_reads import HotMessage
from storage.messages.receipts import Receipt
from storage.messages.retrieval_service import MessageSlice
from storage.messages.storage_service import Unsettled
from storage.messages.streaming_service import Shown
from storage.resilience import budget
from webapp.http.body.drafts import checked_draft
from webapp.http.body.reading import body_as
from webapp.http.conditions import etag, if_match, unless_known, weak_etag
from webapp.http.context import Web, caller, web
from webapp.http.errors import BadRequest
from webapp.http.json_answer import JsonAnswer
from webapp.http.operation import KEY, PAGE, Operation
from webapp.http.requests import (
    Asked,
    answer,
    answer_record,
    asked,
    joined,
    latency_ms,
    query_limit,
    query_message_cursor,
    query_order,
)
from webapp.http.schemas import (
    AcknowledgedMessage,
    AcknowledgementFields,
    ListedMessage,
    MessagePage,
    PatchMessage,
    PostMessage,
    ReadFields,
    ReadMessage,
    StreamStands,
)

blueprint = Blueprint("messages", __name__, url_prefix="/api")

COMMIT_POLL_SECONDS, COMMIT_POLL_GROWTH, COMMIT_POLL_MOST_SECONDS = 0.01, 1.5, 0.1
"""The pauses between questions whether PostgreSQL has a message: many who ask at short intervals
would keep the machine from getting it there."""

UNSETTLED = "threadkeep.unsettled"
"""Where the environment of a request has what the write lane could not settle."""


@Operation("Post a message", {200: AcknowledgedMessage}, PostMessage, headers=(KEY,))
@blueprint.post("/threads/<thread_id>/messages")
def post_message(thread_id: str) -> Response:
    """Acknowledges a message once it is on disk; a thread that does not exist is created.

    `durability` in the answer says what the acknowledgement means.
    """
    body = body_as(PostMessage)
    key = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    draft = checked_draft(thread_id, body.role, body.required_text(), body.metadata, key)
    process = web()
    unsettled: Unsettled | None = request.environ.get(UNSETTLED)
    if unsettled is None:
        acknowledgement = process.services.messages.post(caller().user_id, thread_id, draft)
    else:
        acknowledgement = process.services.messages.settle(unsettled)
    return acknowledged(process, acknowledgement, wait=body.durability == "committed")


@Operation(
    "List a thread's messages from all tiers",
    {200: MessagePage},
    query=(*PAGE, "order"),
    headers=("If-None-Match",),
    errors=(404,),
)
@blueprint.get("/threads/<thread_id>/messages")
def list_messages(thread_id: str) -> Response:
    """A page of a thread: each message once, in its newest version, whichever tier has it."""
    check_thread_id(thread_id)
    services = web().services
    user_id = caller().user_id
    cursor = query_message_cursor(ids.shard_of(user_id, thread_id))
    limit, order = query_limit(), query_order()
    page = services.failover.retrieval.page(
        user_id, thread_id, limit=limit, cursor=cursor, order=order, as_stored=True
    )
    if not page.messages and not page.stored and cursor is None:
        # An empty thread is an empty list; one that does not exist is not found.
        services.threads.get(user_id, thread_id)
    headers, content = page_answer(page, latency_ms(), asked())
    return unless_known(JsonAnswer(content, headers=headers))


@Operation("One message", {200: ReadMessage}, headers=("If-None-Match",), errors=(404,))
@blueprint.get("/messages/<message_id>")
def get_message(message_id: str) -> Response:
    """One message, from the fastest tier that has it."""
    services = web().services
    found = services.failover.retrieval.get(caller().user_id, message_id)
    (shown,) = services.streaming.shown([found.message])
    source = ReadFields(
        retrieval_source=found.source,
        latency_ms=latency_ms(),
        warning=found.warning or msgspec.UNSET,
        stream=_stands(shown),
    )
    record = codec.encode(shown.message)
    if not isinstance(source.stream, msgspec.UnsetType):
        # Its text grows under one version, so the version is no ETag of this answer.
        return answer_record(record, source, {})
    return unless_known(answer_record(record, source, etag(shown.message.version)))


@Operation("Where a message is", {200: Receipt}, errors=(404,))
@blueprint.get("/messages/<message_id>/receipt")
def get_receipt(message_id: str) -> Response:
    """What each tier holds of the message: which versions, since when, and whether intact."""
    return answer(web().services.receipts.receipt(caller().user_id, message_id))


@Operation(
    "Edit a message",
    {200: AcknowledgedMessage},
    PatchMessage,
    headers=("If-Match",),
    errors=(404, 409),
)
@blueprint.patch("/messages/<message_id>")
def edit_message(message_id: str) -> Response:
    """Writes a new version; what is left out stays. With `If-Match`, only of the version named."""
    body = body_as(PatchMessage)
    text = body.text()
    content = None if isinstance(text, msgspec.UnsetType) else text or ""
    metadata = None if isinstance(body.metadata, msgspec.UnsetType) else body.metadata
    if content is None and metadata is None:
        raise BadRequest(422, "nothing_to_change", "give message, metadata, or both")
    if content:
        check_content(content)
    if metadata is not None:
        check_metadata(metadata)
    process = web()
    acknowledgement = process.services.messages.edit(
        caller().user_id, message_id, content=content, metadata=metadata, if_version=if_match()
    )
    return acknowledged(process, acknowledgement)


@Operation("Delete a message", {200: AcknowledgedMessage}, headers=("If-Match",), errors=(404,))
@blueprint.delete("/messages/<message_id>")
def delete_message(message_id: str) -> Response:
    """Writes a tombstone: the message is gone from reads at once."""
    process = web()
    acknowledgement = process.services.messages.delete(
        caller().user_id, message_id, if_version=if_match()
    )
    return acknowledged(process, acknowledgement)


def acknowledged(
    process: Web,
    done: Acknowledgement,
    *,
    wait: bool = False,
    status: int = 200,
    stream: StreamStands | msgspec.UnsetType = msgspec.UNSET,
) -> Response:
    """The answer to an acknowledged write; wakes a worker for it."""
    process.wake(done.wake_slot)
    took_ms = latency_ms()
    process.services.performance.answered.note(took_ms / 1000)
    if wait and done.tier_used == "redis" and _wait_for_commit(process, done):
        done = done._replace(durability="committed")
    meaning = meaning_of(done, latency_ms() if wait else took_ms, stream)
    headers = etag(done.message.version)
    if done.repeated:
        headers["Idempotency-Replayed"] = "true"
    return answer_record(done.record, meaning, headers, status)


def meaning_of(
    done: Acknowledgement, took_ms: float, stream: StreamStands | msgspec.UnsetType = msgspec.UNSET
) -> AcknowledgementFields:
    """What an acknowledgement says beside the message."""
    return AcknowledgementFields(
        tier_used=done.tier_used,
        durability=done.durability,
        background_persistence=done.durability != "committed",
        latency_ms=took_ms,
        failover_reason=done.degraded.failover_reason or msgspec.UNSET,
        warning=done.degraded.warning or msgspec.UNSET,
        stream=stream,
    )


def hot_message_answer(found: HotMessage, took_ms: float) -> tuple[dict[str, str], bytes]:
    """The headers and the body of the answer with a message that Redis alone has given."""
    source = ReadFields(retrieval_source="redis", latency_ms=took_ms)
    return etag(found.version), joined(found.record, source)


def page_answer(page: MessageSlice, took_ms: float, request: Asked) -> tuple[dict[str, str], bytes]:
    """The headers and the body of the answer with a page."""
    # Where their records are at hand they are what is answered, not read and written again.
    listed = page.stored or msgspec.json.encode(_listed(page))
    body = MessagePage(
        messages=cast(Sequence[ListedMessage], msgspec.Raw(listed)),
        next_cursor=page.next_cursor,
        retrieval_source=page.source,
        latency_ms=took_ms,
        warning=page.warning or msgspec.UNSET,
    )
    headers = weak_etag(listed, page.next_cursor, page.warning) | request.link_to(page.next_cursor)
    return headers, msgspec.json.encode(body)


def _listed(page: MessageSlice) -> Sequence[ListedMessage]:
    """The messages of a page, with the text so far of those that are streaming."""
    found = page.messages
    if all(state_of(one.metadata) != "open" for one in found):
        return cast(Sequence[ListedMessage], found)
    shown = web().services.streaming.shown(found)
    return [
        ListedMessage(**msgspec.structs.asdict(one.message), stream=_stands(one)) for one in shown
    ]


def _stands(shown: Shown) -> StreamStands | msgspec.UnsetType:
    if state_of(shown.message.metadata) != "open":
        return msgspec.UNSET
    length = None if shown.text is None else len(shown.text.encode())
    return StreamStands(state="open", length=length, text=shown.text)


def _wait_for_commit(process: Web, done: Acknowledgement) -> bool:
    """Whether PostgreSQL has the version before `commit_wait_seconds` are over."""
    seconds = process.settings.commit_wait_seconds - latency_ms() / 1000
    deadline = time.monotonic() + seconds
    # The caller asked to wait, at most so long in all.
    budget.begin(seconds)
    process.wake(process.services.tiers.redis.slot_of_message(done.message.id))
    pause = COMMIT_POLL_SECONDS
    while time.monotonic() < deadline:
        try:
            version = process.services.tiers.postgres.version_of(
                done.message.user_id, done.message.id
            )
        except TierUnavailable:
            return False
        if version is not None and version >= done.message.version:
            return True
        time.sleep(pause)
        pause = min(COMMIT_POLL_MOST_SECONDS, pause * COMMIT_POLL_GROWTH)
    return False
