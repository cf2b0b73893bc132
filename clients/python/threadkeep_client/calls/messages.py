"""Calls about messages."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from msgspec import UNSET, UnsetType

from threadkeep_client.answers.messages import (
    AcknowledgedMessage,
    BatchAnswer,
    MessagePage,
    ReadMessage,
    Receipt,
    SearchPage,
)
from threadkeep_client.calls.call import Call, body, if_version, keyed, path, query

Role = Literal["user", "assistant", "agent", "tool", "system"]


class _Needed(TypedDict):
    thread_id: str
    message: str | None


class BatchItem(_Needed, total=False):
    """A message of a batch."""

    role: Role
    metadata: dict[str, Any]
    idempotency_key: str


def post_message(
    thread_id: str,
    message: str | None,
    *,
    role: Role = "user",
    metadata: dict[str, Any] | None = None,
    durability: Literal["fsynced", "committed"] = "fsynced",
    idempotency_key: str | None = None,
) -> Call[AcknowledgedMessage]:
    """Posts a message, which is on disk when this returns, once however often it was sent.

    The thread need not exist. With `durability="committed"` the server waits up to 5 s for
    PostgreSQL.
    """
    return Call(
        "POST",
        path("threads", thread_id, "messages"),
        AcknowledgedMessage,
        headers=keyed(idempotency_key),
        body=body(message=message, role=role, metadata=metadata or {}, durability=durability),
    )


def post_batch(
    messages: Sequence[BatchItem], *, idempotency_key: str | None = None
) -> Call[BatchAnswer]:
    """Posts up to 1000 messages with one acknowledgement; each has a result of its own."""
    return Call(
        "POST",
        "/api/messages:batch",
        BatchAnswer,
        headers=keyed(idempotency_key),
        body=body(messages=messages),
    )


def get_message(message_id: str) -> Call[ReadMessage]:
    """Reads a message."""
    return Call("GET", path("messages", message_id), ReadMessage)


def get_receipt(message_id: str) -> Call[Receipt]:
    """Says where a message is, tier by tier."""
    return Call("GET", path("messages", message_id, "receipt"), Receipt)


def edit_message(
    message_id: str,
    message: str | UnsetType | None = UNSET,
    *,
    metadata: dict[str, Any] | UnsetType = UNSET,
    version: int | None = None,
) -> Call[AcknowledgedMessage]:
    """Writes a new version of a message. With `version` only if that is the current one, else
    `VersionConflict`."""
    return Call(
        "PATCH",
        path("messages", message_id),
        AcknowledgedMessage,
        headers=if_version(version),
        body=body(message=message, metadata=metadata),
    )


def delete_message(message_id: str, *, version: int | None = None) -> Call[None]:
    """Deletes a message: reads do not find it from now on."""
    return Call("DELETE", path("messages", message_id), type(None), headers=if_version(version))


def list_messages(
    thread_id: str,
    *,
    order: Literal["asc", "desc"] = "desc",
    limit: int = 50,
    cursor: str | None = None,
) -> Call[MessagePage]:
    """Messages of a thread in pages of `limit` (1 to 1000), newest first unless `order="asc"`."""
    return Call(
        "GET",
        path("threads", thread_id, "messages"),
        MessagePage,
        query=query(order=order, limit=limit, cursor=cursor),
    )


def search_messages(
    q: str,
    *,
    thread_id: str | None = None,
    role: Role | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Call[SearchPage]:
    """Messages with these words, of all threads or one, in pages of `limit` (1 to 1000).

    `since` and `until` are aware times.
    """
    return Call(
        "GET",
        path("search"),
        SearchPage,
        query=query(
            q=q,
            thread_id=thread_id,
            role=role,
            since=since and since.isoformat(),
            until=until and until.isoformat(),
            limit=limit,
            cursor=cursor,
        ),
    )
