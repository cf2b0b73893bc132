"""Calls that write a message chunk by chunk. `client.stream` makes them."""

from typing import Any

from msgspec import UNSET, UnsetType

from threadkeep_client.answers.messages import AcknowledgedMessage, AppendedChunk
from threadkeep_client.calls.call import Call, body, keyed, path
from threadkeep_client.calls.messages import Role


def open_stream(
    thread_id: str,
    *,
    role: Role = "assistant",
    metadata: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Call[AcknowledgedMessage]:
    """Opens a message whose text comes in chunks."""
    return Call(
        "POST",
        f"{path('threads', thread_id)}/messages:stream",
        AcknowledgedMessage,
        headers=keyed(idempotency_key),
        body=body(role=role, metadata=metadata or {}),
    )


def append_chunk(message_id: str, text: str, *, offset: int) -> Call[AppendedChunk]:
    """Appends text that begins at `offset`, in bytes of UTF-8. It may be sent again."""
    return Call(
        "POST",
        path("messages", message_id, "chunks"),
        AppendedChunk,
        body=body(text=text, offset=offset),
    )


def finish_stream(
    message_id: str,
    message: str | UnsetType = UNSET,
    *,
    metadata: dict[str, Any] | UnsetType = UNSET,
) -> Call[AcknowledgedMessage]:
    """Finishes a message with the text of its chunks, or with `message`."""
    return Call(
        "POST",
        path("messages", message_id, "finish"),
        AcknowledgedMessage,
        body=body(message=message, metadata=metadata),
    )
