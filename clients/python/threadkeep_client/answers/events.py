"""What an event stream tells."""

from datetime import datetime
from typing import Any

import msgspec

from threadkeep_client.answers.messages import Message


class ChangedThread(msgspec.Struct, kw_only=True, frozen=True):
    """A thread's own data after a change; `deleted_at` is set while it is deleted."""

    version: int
    id: str
    user_id: str
    title: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    is_pinned: bool = False
    is_archived: bool = False


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """An event. Its `type` says which members it has:

    `message_received` and `message_updated`: `message`. `message_persisted`: PostgreSQL has this
    `version`. `message_deleted`. `thread_updated`: `thread`. `message_chunk`: `text`, and `offset`,
    where it begins in bytes of UTF-8. `reset`: events were lost, so read the lists again.

    `event_id` is what to continue from: `client.events(last_event_id=…)`.
    """

    type: str
    event_id: str
    message_id: str | None = None
    thread_id: str | None = None
    version: int | None = None
    message: Message | None = None
    thread: ChangedThread | None = None
    text: str | None = None
    offset: int | None = None
    detail: str | None = None
    timestamp: datetime | None = None
