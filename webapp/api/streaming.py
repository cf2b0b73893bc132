"""The routes of messages whose text comes in chunks: open, append, finish."""

import msgspec
from flask import Blueprint, Response, request

from models.message import (
    check_content,
    check_idempotency_key,
    check_metadata,
    check_new_thread_id,
)
from storage.messages.posts import Draft
from webapp.api.messages import acknowledged
from webapp.http.body.reading import body_as, optional_body_as
from webapp.http.context import caller, web
from webapp.http.operation import KEY, Operation
from webapp.http.requests import answer
from webapp.http.schemas import (
    AcknowledgedMessage,
    AppendChunk,
    ChunkAppended,
    FinishStream,
    OpenStream,
    StreamStands,
)

blueprint = Blueprint("streaming", __name__, url_prefix="/api")


@Operation(
    "Open a message whose text comes in chunks",
    {201: AcknowledgedMessage},
    OpenStream,
    headers=(KEY,),
    optional_body=True,
)
@blueprint.post("/threads/<thread_id>/messages:stream")
def open_stream(thread_id: str) -> Response:
    """Writes a message that is still open: its text comes with `append_chunk`, and ends with
    `finish_stream`."""
    body = optional_body_as(OpenStream)
    key = request.headers.get("Idempotency-Key")
    check_new_thread_id(thread_id)
    text = body.text() or ""
    _check_content_if_any(text)
    check_metadata(body.metadata)
    if key is not None:
        check_idempotency_key(key)
    process = web()
    draft = Draft(body.role, text, body.metadata, key)
    opened = process.services.streaming.open(caller().user_id, thread_id, draft)
    stream = StreamStands(state=opened.state, length=opened.length)
    return acknowledged(process, opened.acknowledgement, status=201, stream=stream)


@Operation("Append to a streaming message", {200: ChunkAppended}, AppendChunk, errors=(404, 409))
@blueprint.post("/messages/<message_id>/chunks")
def append_chunk(message_id: str) -> Response:
    """Appends the next part of the text; it is on disk before the answer."""
    body = body_as(AppendChunk)
    check_content(body.text, name="text")
    service = web().services.streaming
    done = service.append(caller().user_id, message_id, body.text, body.offset)
    return answer(ChunkAppended(message_id=message_id, length=done.length, version=done.version))


@Operation(
    "Finish a streaming message",
    {200: AcknowledgedMessage},
    FinishStream,
    errors=(404, 409),
    optional_body=True,
)
@blueprint.post("/messages/<message_id>/finish")
def finish_stream(message_id: str) -> Response:
    """Writes the final version, with the streamed text or the one given."""
    body = optional_body_as(FinishStream)
    text = body.text()
    content = None if isinstance(text, msgspec.UnsetType) else text
    metadata = None if isinstance(body.metadata, msgspec.UnsetType) else body.metadata
    _check_content_if_any(content)
    check_metadata(metadata or {})
    process = web()
    done = process.services.streaming.finish(caller().user_id, message_id, content, metadata)
    return acknowledged(process, done)


def _check_content_if_any(content: str | None) -> None:
    """Checks a text. Only here it may be empty: there is none yet, or the agent said nothing."""
    if content:
        check_content(content)
