"""A line of JSON Lines that is a thread's own data: `{"thread": {…}}`, before its messages."""

import re
from typing import Annotated, Any

import msgspec

from jobs.transfer.formats.source import time_us_from
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
    """A thread's own data. One that is not known is refused: nothing is dropped in silence."""

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
    own = {name: getattr(thread, name) for name in OwnData.__struct_fields__}
    return msgspec.json.encode(ThreadLine(OwnData(**own)))


def decode(line: bytes, user_id: str | None) -> Thread:
    """The thread of a line, of `user_id` if that is given.

    Raises `InvalidMessage`, or msgspec's errors.
    """
    own = _line.decode(line).thread
    owner = user_id or own.user_id
    if owner is None:
        raise InvalidMessage("no_owner", "it has no user_id; name one for all with --user")
    check_user_id(owner)
    check_thread_id(own.id)
    check_title(own.title)
    check_metadata(own.metadata)
    return Thread(
        version=own.version,
        id=own.id,
        user_id=owner,
        title=own.title,
        metadata=own.metadata,
        created_at=ids.timestamp(_time_us(own.created_at)),
        updated_at=ids.timestamp(_time_us(own.updated_at or own.created_at)),
        is_pinned=own.is_pinned,
        is_archived=own.is_archived,
    )


def _time_us(moment: str) -> int:
    time_us = time_us_from(moment)
    if time_us < 0:
        raise InvalidMessage("time_before_1970", "its time is before 1970")
    return time_us
