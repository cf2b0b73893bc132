"""Messages, and what is said of them."""

from datetime import datetime
from typing import Any

import msgspec

from threadkeep_client.answers.pages import Page


class StreamState(msgspec.Struct, kw_only=True, frozen=True):
    """How far a message that is being written is. `length` is in bytes of UTF-8."""

    state: str
    length: int | None
    text: str | None = None


class Message(msgspec.Struct, kw_only=True, frozen=True):
    """A message, in its latest version."""

    id: str
    thread_id: str
    user_id: str
    role: str
    content: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    version: int
    content_hash: str
    stream: StreamState | None = None


class AcknowledgedMessage(Message, kw_only=True, frozen=True):
    """A message that was written: on disk in `tier_used`. `warning` names a tier that is down."""

    tier_used: str
    durability: str
    background_persistence: bool
    latency_ms: float
    failover_reason: str | None = None
    warning: str | None = None


class ReadMessage(Message, kw_only=True, frozen=True):
    """A message that was read, and from which tier."""

    retrieval_source: str
    latency_ms: float
    warning: str | None = None


class FoundMessage(Message, kw_only=True, frozen=True):
    """A message that a search found. `highlights` are [begin, end] in characters of `content`."""

    highlights: list[list[int]]


class MessagePage(Page[Message], kw_only=True, frozen=True):
    """A page of a thread."""

    messages: list[Message]
    retrieval_source: str
    latency_ms: float
    warning: str | None = None

    @property
    def items(self) -> list[Message]:
        """The messages."""
        return self.messages


class SearchPage(Page[FoundMessage], kw_only=True, frozen=True):
    """A page of what a search found."""

    messages: list[FoundMessage]
    retrieval_source: str
    latency_ms: float
    warning: str | None = None

    @property
    def items(self) -> list[FoundMessage]:
        """The messages."""
        return self.messages


class WrongField(msgspec.Struct, kw_only=True, frozen=True):
    """A field of a request that is wrong, and what it may be."""

    field: str
    detail: str
    given: Any = None
    expected: str | None = None
    allowed: list[Any] | None = None


class BatchResult(msgspec.Struct, kw_only=True, frozen=True):
    """What became of one message of a batch: `message` where `status` is 200, else `code`."""

    status: int
    message: Message | None = None
    repeated: bool = False
    code: str | None = None
    detail: str | None = None
    errors: list[WrongField] = []


class BatchAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What became of a batch, message by message in its order."""

    results: list[BatchResult]
    accepted: int
    refused: int
    tier_used: str
    durability: str
    background_persistence: bool
    latency_ms: float
    failover_reason: str | None = None
    warning: str | None = None


class AppendedChunk(msgspec.Struct, kw_only=True, frozen=True):
    """The length of a streamed text with the chunk, in bytes of UTF-8."""

    message_id: str
    length: int
    version: int


class ReceiptCopy(msgspec.Struct, kw_only=True, frozen=True):
    """One version of a message in a tier. `intact`: its bytes match its hash."""

    version: int
    content_hash: str
    intact: bool
    deleted: bool
    since: datetime


class TierReceipt(msgspec.Struct, kw_only=True, frozen=True):
    """What a tier has of a message; `present` is None where the tier does not answer."""

    present: bool | None
    copies: list[ReceiptCopy]
    pending: bool | None = None


class Receipt(msgspec.Struct, kw_only=True, frozen=True):
    """Where a message is, tier by tier."""

    id: str
    thread_id: str
    version: int
    content_hash: str
    state: str
    deleted: bool
    tiers: dict[str, TierReceipt]
    is_streaming: bool = False
