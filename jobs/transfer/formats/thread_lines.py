"""A line of JSON Lines that is a thread's own data: `{"thread": {…}}`, before its messages."""

import re
from typing import Annotated, Any

import msgspec

from jobs.transfer.formats.source import owner_of, time_us_from
from models import ids
from models.message import (
    InvalidMessage,
    Thread,
    check_metadata,
    check_thread_id,
    check_title,
    check_user_id,
)

_BEGINS = re.compile(rb'\s*\{\s*"thread"\s*:')


class OwnData(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A thread's own data. A member that is not known is refused: nothing is dropped silently."""

    id: str
    user_id: str | None = None
    title: str | None = None
    metadata: dict[str, Any] = {}
    created_at: str
    updated_at: str | None = None
    version: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)] = 1
    is_pinned: bool = False
    is_archived: bool = False


class ThreadLine(msgspec.Struct, forbid_unknown_fields=True):
    """A line."""

    thread: OwnData


_line = msgspec.json.Decoder(ThreadLine)


def is_thread(line: bytes) -> bool:
    """Whether a line is about a thread."""
    return _BEGINS.match(line) is not None


def encode(thread: Thread) -> bytes:
    """The line of a thread."""
    return msgspec.json.encode(ThreadLine(msgspec.convert(thread, OwnData, from_attributes=True)))


def decode(line: bytes, user_id: str | None) -> Thread:
    """The thread of a line, of `user_id` if given. Raises `InvalidMessage`, or msgspec's errors."""
    own = _line.decode(line).thread
    owned = msgspec.structs.replace(
        own,
        user_id=owner_of(user_id, own.user_id),
        created_at=_timestamp(own.created_at),
        updated_at=_timestamp(own.updated_at or own.created_at),
    )
    thread = msgspec.convert(owned, Thread, from_attributes=True)
    check_user_id(thread.user_id)
    check_thread_id(thread.id)
    check_title(thread.title)
    check_metadata(thread.metadata)
    return thread


def _timestamp(moment: str) -> str:
    time_us = time_us_from(moment)
    if time_us < 0:
        raise InvalidMessage("time_before_1970", "its time is before 1970")
    return ids.timestamp(time_us)
