"""Threads, tickets and the server itself."""

from datetime import datetime
from typing import Any

import msgspec

from threadkeep_client.answers.pages import Page


class Thread(msgspec.Struct, kw_only=True, frozen=True):
    """A thread, and its newest message."""

    id: str
    user_id: str
    title: str | None
    metadata: dict[str, Any]
    created_at: datetime
    last_message_at: datetime | None
    message_count: int
    last_message_preview: str | None = None
    is_pinned: bool = False
    is_archived: bool = False


class ThreadPage(Page[Thread], kw_only=True, frozen=True):
    """A page of the user's threads."""

    threads: list[Thread]
    retrieval_source: str
    latency_ms: float
    warning: str | None = None

    @property
    def items(self) -> list[Thread]:
        """The threads."""
        return self.threads


class Ticket(msgspec.Struct, kw_only=True, frozen=True):
    """What opens one event stream or socket, once, within `expires_in` seconds."""

    ticket: str
    expires_in: int


class ServiceInfo(msgspec.Struct, kw_only=True, frozen=True):
    """The server's version and its addresses."""

    version: str
    ws_url: str
    events_url: str
    docs_url: str
