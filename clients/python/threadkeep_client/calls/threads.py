"""Calls about threads, and about the server itself."""

from typing import Any
from uuid import uuid4

from msgspec import UNSET, UnsetType

from threadkeep_client.answers.threads import ServiceInfo, Thread, ThreadPage, Ticket
from threadkeep_client.calls.call import Call, body, path, query


def create_thread(
    id: str | None = None,
    *,
    title: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Call[Thread]:
    """Creates a thread; without an `id` it gets a random one. `Conflict` if you have it already."""
    new_id = id or uuid4().hex
    given = body(id=new_id, title=title, metadata=metadata or {})
    # A thread of a random id is this one, whose answer was lost.
    if_made = get_thread(new_id) if id is None else None
    return Call("POST", path("threads"), Thread, body=given, if_made=if_made)


def get_thread(thread_id: str) -> Call[Thread]:
    """Reads a thread."""
    return Call("GET", path("threads", thread_id), Thread)


def change_thread(
    thread_id: str,
    *,
    title: str | UnsetType | None = UNSET,
    metadata: dict[str, Any] | UnsetType = UNSET,
    is_pinned: bool | UnsetType = UNSET,
    is_archived: bool | UnsetType = UNSET,
) -> Call[Thread]:
    """Changes what is given of a thread."""
    changes = body(title=title, metadata=metadata, is_pinned=is_pinned, is_archived=is_archived)
    return Call("PATCH", path("threads", thread_id), Thread, body=changes)


def delete_thread(thread_id: str) -> Call[None]:
    """Deletes a thread with all its messages."""
    return Call("DELETE", path("threads", thread_id), type(None))


def list_threads(
    *,
    is_archived: bool | None = None,
    is_pinned: bool | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Call[ThreadPage]:
    """The user's threads in pages of `limit` (1 to 1000), those with the newest message first."""
    filters = query(is_archived=is_archived, is_pinned=is_pinned, limit=limit, cursor=cursor)
    return Call("GET", path("threads"), ThreadPage, query=filters)


def create_ticket() -> Call[Ticket]:
    """A ticket with which a page opens one event stream or socket."""
    return Call("POST", path("tickets"), Ticket)


def get_service_info() -> Call[ServiceInfo]:
    """The server's version and its addresses."""
    return Call("GET", "/api", ServiceInfo)
