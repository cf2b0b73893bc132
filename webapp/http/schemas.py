"""The shapes of requests and answers; the OpenAPI description is made from them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from models.message import (
    Caveat,
    Durability,
    FailoverReason,
    Message,
    Role,
    Source,
    ThreadSummary,
    Tier,
)
from models.streams import StreamState
from webapp.http.errors import BadRequest, WrongField

Metadata = Annotated[
    dict[str, Any], Meta(description="A JSON object, at most 16 KiB and 16 levels deep.")
]
Content = Annotated[str, Meta(description="1 byte to 64 KiB of UTF-8, kept byte for byte.")]
ContentOrNone = Annotated[
    str | None,
    Meta(
        description="1 byte to 64 KiB of UTF-8, kept byte for byte; empty or null only where"
        " metadata says what the message is."
    ),
]
RoleField = Annotated[Role, Meta(description="Who speaks.")]


def _message_with(name: str, fields: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The shape of a message with the fields that an answer adds."""
    added = [
        (field.name, field.type, field.default) if not field.required else (field.name, field.type)
        for field in msgspec.structs.fields(fields)
    ]
    shape = msgspec.defstruct(name, added, bases=(Message,), kw_only=True, frozen=True)
    shape.__doc__ = f"A message. {fields.__doc__}"
    return shape


class RequestBody(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Unknown fields are refused: a misspelt one must not be ignored."""


def _wrong_text(detail: str) -> BadRequest:
    return BadRequest(422, "invalid_body", detail, [WrongField(field="$.message", detail=detail)])


class MessageText(RequestBody, kw_only=True, frozen=True):
    """A text, as `message` or as `content`, which is its name in answers."""

    message: ContentOrNone | UnsetType = UNSET
    content: ContentOrNone | UnsetType = UNSET

    def text(self) -> str | UnsetType | None:
        """The text under either name, `UNSET` where there is none. Raises `BadRequest`."""
        if self.content is UNSET:
            return self.message
        if self.message is not UNSET:
            raise _wrong_text("give message or content, and not both")
        return self.content

    def required_text(self) -> str | None:
        """The text under either name. Raises `BadRequest`."""
        text = self.text()
        if isinstance(text, UnsetType):
            raise _wrong_text("$.message is missing, which must be a text")
        return text


class PostMessage(MessageText, kw_only=True, frozen=True):
    """A new message."""

    role: RoleField = "user"
    metadata: Metadata = {}
    durability: Literal["fsynced", "committed"] = "fsynced"


class PatchMessage(MessageText, kw_only=True, frozen=True):
    """A new version of a message; what is left out stays."""

    metadata: Metadata | UnsetType = UNSET


class BatchItem(MessageText, kw_only=True, frozen=True):
    """One message of a batch."""

    thread_id: str
    role: RoleField = "user"
    metadata: Metadata = {}
    idempotency_key: str | None = None


class PostBatch(RequestBody, kw_only=True, frozen=True):
    """Up to 1000 messages. Items are read one by one, so a bad one refuses only itself."""

    messages: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=1000)]


class SoundBatch(RequestBody, kw_only=True, frozen=True):
    """Likewise, where no item is wrong."""

    messages: Annotated[list[BatchItem], Meta(min_length=1, max_length=1000)]


class PostThread(RequestBody, kw_only=True, frozen=True):
    """A new thread; without an id the server mints one."""

    id: str | None = None
    title: str | None = None
    metadata: Metadata = {}


class PatchThread(RequestBody, kw_only=True, frozen=True):
    """What is to change of a thread; what is left out stays."""

    title: str | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    is_pinned: bool | UnsetType = UNSET
    is_archived: bool | UnsetType = UNSET


class OpenStream(MessageText, kw_only=True, frozen=True):
    """A message whose text comes in chunks; `message` is the text so far."""

    role: RoleField = "assistant"
    metadata: Metadata = {}


class AppendChunk(RequestBody, kw_only=True, frozen=True):
    """The next part of a message's text, in whole characters. With `offset`, its first byte in
    UTF-8, the call may be repeated: what is there already is not appended again."""

    text: Content
    offset: Annotated[int, Meta(ge=0)] | None = None


class FinishStream(MessageText, kw_only=True, frozen=True):
    """Ends a streaming message. A `message` replaces the streamed text, `metadata` that of its
    opening."""

    message: Content | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class ChunkAppended(msgspec.Struct, kw_only=True, frozen=True):
    """The chunk is on disk; `length` is that of the text so far, in bytes of UTF-8."""

    message_id: str
    length: int
    version: int


class StreamStands(msgspec.Struct, kw_only=True, frozen=True):
    """The progress of a streaming message: `length` of the text so far in bytes of UTF-8, and in
    reads the `text`. Both are null while Redis, which has them, does not answer."""

    state: StreamState
    length: int | None
    text: str | UnsetType | None = UNSET


class AcknowledgementFields(msgspec.Struct, kw_only=True, frozen=True):
    """What an acknowledgement means.

    `durability`: `fsynced` on Redis's disk, `committed` in PostgreSQL, `archived` in ClickHouse,
    or `memory` if this Redis does not write to disk before it answers. `background_persistence`:
    a worker still carries it to the next tier.
    """

    tier_used: Tier
    durability: Durability
    background_persistence: bool
    latency_ms: float
    failover_reason: FailoverReason | UnsetType = UNSET
    warning: Caveat | UnsetType = UNSET
    stream: StreamStands | UnsetType = UNSET


class ReadFields(msgspec.Struct, kw_only=True, frozen=True):
    """Where a message was found, and the text so far of one that is streaming. The message itself
    is shown as it is stored: its hash is of that."""

    retrieval_source: Tier
    latency_ms: float
    warning: Caveat | UnsetType = UNSET
    stream: StreamStands | UnsetType = UNSET


AcknowledgedMessage = _message_with("AcknowledgedMessage", AcknowledgementFields)
ReadMessage = _message_with("ReadMessage", ReadFields)


class ListedMessage(Message, kw_only=True, frozen=True):
    """A message, and the text so far of one that is streaming."""

    stream: StreamStands | UnsetType = UNSET


class MessagePage(msgspec.Struct, kw_only=True, frozen=True):
    """Part of a thread; `next_cursor` is null at its end."""

    messages: Sequence[ListedMessage]
    next_cursor: str | None
    retrieval_source: Source
    latency_ms: float
    warning: Caveat | UnsetType = UNSET


class BatchResult(msgspec.Struct, kw_only=True, frozen=True):
    """The result of one item: 200 with the message, or a status, code and detail, and `errors` as
    in a problem."""

    status: int
    message: Message | UnsetType = UNSET
    repeated: bool | UnsetType = UNSET
    code: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    errors: Sequence[WrongField] | UnsetType = UNSET


class BatchAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """One acknowledgement for all accepted items; results in the order of the items.

    If items went to different tiers, it names the farthest one.
    """

    results: list[BatchResult]
    accepted: int
    refused: int
    tier_used: Tier
    durability: Durability
    background_persistence: bool
    latency_ms: float
    failover_reason: FailoverReason | UnsetType = UNSET
    warning: Caveat | UnsetType = UNSET


class ThreadPage(msgspec.Struct, kw_only=True, frozen=True):
    """The caller's threads, most recently active first."""

    threads: list[ThreadSummary]
    next_cursor: str | None
    retrieval_source: Source
    latency_ms: float
    warning: Caveat | UnsetType = UNSET


class ServiceInfo(msgspec.Struct, kw_only=True, frozen=True):
    """The version and the addresses of this installation."""

    version: str
    ws_url: str
    events_url: str
    docs_url: str


class Liveness(msgspec.Struct, kw_only=True, frozen=True):
    """The process answers. `problems` do not keep it from acknowledging."""

    status: str
    problems: list[str] | msgspec.UnsetType = msgspec.UNSET
