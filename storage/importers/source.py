"""What every source of history shares: what is refused and why, and the ids of what is kept.

History is kept as it was: an empty text, which the door refuses, is no reason to lose a message.
All else that no tier could keep is refused one message at a time, with its place and its reason.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from models import codec, ids
from models.message import (
    InvalidMessage,
    Message,
    check_content,
    check_metadata,
    check_new_thread_id,
    check_role,
    check_thread_id,
    check_user_id,
)

LATEST_AHEAD_US = 24 * 3600 * 1_000_000
"""History comes from the past; a clock that is a day wrong is still believed."""

SHARDS_KEPT = 4_096

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class Refusal(NamedTuple):
    """A message that is not imported: where it stands in its source, and why."""

    where: str
    reason: str


class UnreadableSource(ValueError):
    """The source as a whole is not of its format; nothing of it can be imported."""


class Source(NamedTuple):
    """A source that is open: how many messages or lines it has, if that is known, and they."""

    total: int | None
    items: Iterator[Message | Refusal]


class Origin(NamedTuple):
    """One message as its source has it; `identity` is what the source itself knows it by."""

    user_id: str
    thread_id: str
    role: str
    content: str
    metadata: dict[str, Any]
    time_us: int
    identity: tuple[str, ...]


class Minter:
    """Turns origins into sealed messages whose ids strictly rise within a thread.

    A message that is not later than the one before it in its thread is put a microsecond after
    it: the order within a second is then the source's. The same source gives the same ids.
    """

    def __init__(self, now_us: int) -> None:
        self._latest_us = now_us + LATEST_AHEAD_US
        self._last_us: dict[tuple[str, str], int] = {}
        # Messages of a thread mostly stand together in a source.
        self._shard_of = lru_cache(maxsize=SHARDS_KEPT)(ids.shard_of)

    def last_us(self, user_id: str, thread_id: str) -> int | None:
        """The time of the thread's message before, if there was one."""
        return self._last_us.get((user_id, thread_id))

    def passed(self, message: Message) -> None:
        """Takes note of a message that came with an id of its own."""
        thread = message.user_id, message.thread_id
        self._last_us[thread] = max(ids.time_us_of(message.id), self._last_us.get(thread, 0))

    def mint(self, origin: Origin) -> Message:
        """The sealed message. Raises `InvalidMessage` for what cannot be kept."""
        check_origin(origin)
        check_new_thread_id(origin.thread_id)
        self.check_time(origin.time_us)
        thread = origin.user_id, origin.thread_id
        time_us = max(origin.time_us, self._last_us.get(thread, -1) + 1)
        self.check_time(time_us)
        # The owner is part of the identity: one conversation may belong to several.
        bits = ids.source_bits(*thread, *origin.identity)
        moment = ids.timestamp(time_us)
        self._last_us[thread] = time_us
        return codec.seal(
            Message(
                version=1,
                id=ids.mint(time_us, self._shard_of(*thread), bits),
                thread_id=origin.thread_id,
                user_id=origin.user_id,
                role=origin.role,
                content=origin.content,
                metadata=origin.metadata,
                created_at=moment,
                updated_at=moment,
            )
        )

    def check_time(self, time_us: int) -> None:
        """Refuses a time that no message of the past can have."""
        if time_us < 0:
            raise InvalidMessage("time_before_1970", "its time is before 1970")
        if time_us > self._latest_us:
            raise InvalidMessage("time_ahead", "its time is more than a day ahead")


def check_origin(origin: Origin) -> None:
    """Refuses what a tier could not keep, as the door does, but for empty text."""
    check_user_id(origin.user_id)
    check_thread_id(origin.thread_id)
    check_role(origin.role)
    if origin.content:
        check_content(origin.content)
    check_metadata(origin.metadata, may_be_marked=True)


def time_us_from(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time; finer digits are cut off.

    Raises `InvalidMessage` for anything else, a time without a zone included.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise InvalidMessage("time_invalid", "its time is not RFC 3339 with a zone")
    day, clock, fraction, zone = found.groups()
    offset = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{(fraction or '.')[:7]:0<7}{offset}")
    except ValueError:
        raise InvalidMessage("time_invalid", "its time does not exist") from None
    return ids.time_us(moment)


def attempt(where: str, make: Callable[..., Message], *arguments: Any) -> Message | Refusal:
    """What `make` gives, or its refusal: one bad message never ends an import."""
    try:
        return make(*arguments)
    except InvalidMessage as error:
        return Refusal(where, str(error))
    except msgspec.ValidationError as error:
        return Refusal(where, f"it has not the shape of a message: {error}")
    except (msgspec.DecodeError, RecursionError):
        return Refusal(where, "it is not JSON")
