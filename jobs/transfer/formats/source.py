"""What every format shares: items, refusals and ids. Empty texts, which the API refuses, are
imported; what no tier could keep is refused one message at a time, with its place and its
reason."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from models import ids
from models.message import (
    InvalidMessage,
    Message,
    Thread,
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

PLACE_BITS = 18
"""The first of an imported id's 52 free bits: its place among those of its thread and moment. The
others are a hash of what its source knows it by."""

_AT_BYTE = re.compile(r" \(byte \d+\)$")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class RefusedLine(NamedTuple):
    """A message that is not imported: where it stands in its source, and why."""

    where: str
    reason: str


class UnreadableSource(ValueError):
    """The source as a whole is not of its format; nothing of it can be imported."""


class Minted(NamedTuple):
    """A foreign message, not sealed, under the id that it has as the first of its thread and
    moment; its place in the source; and the id that it would have been given when ids still
    depended on the messages before."""

    message: Message
    where: str
    earlier_id: str


Kept = Message | Minted | Thread
"""What is imported: an exported version, which comes back exactly, a foreign message, or a thread's
own data."""
Item = Kept | RefusedLine


class _Passed(NamedTuple):
    """The time of a thread's last message, and the one to which it was moved when ids rose with
    their lines."""

    time_us: int = 0
    earlier_us: int = -1


class Minter:
    """Gives drafts ids from their own time and from what their source knows them by, not from what
    stands before them, so that files that overlap agree."""

    def __init__(self, now_us: int) -> None:
        self._latest_us = now_us + LATEST_AHEAD_US
        self._last: dict[tuple[str, str], _Passed] = {}
        # Messages of a thread mostly stand together in a source.
        self._shard_of = lru_cache(maxsize=SHARDS_KEPT)(ids.shard_of)

    def has_passed(self, user_id: str, thread_id: str) -> bool:
        """Whether there was a message of this thread."""
        return (user_id, thread_id) in self._last

    def note(self, message: Message) -> None:
        """Takes note of a message that came with an id of its own."""
        thread = message.user_id, message.thread_id
        time_us = ids.time_us_of(message.id)
        last = self._last.get(thread, _Passed())
        self._last[thread] = _Passed(time_us, max(time_us, last.earlier_us))

    def mint(
        self,
        where: str,
        draft: Message,
        time_us: int | None,
        identity: tuple[str, ...],
        earlier_identity: tuple[str, ...],
    ) -> Minted:
        """The message of a draft. `identity` is what its source knows it by, `earlier_identity`
        what it was known by when ids depended on the messages before. Without a time it has that of
        the message before it in its thread. Raises `InvalidMessage` for what cannot be kept."""
        check_keepable(draft)
        check_new_thread_id(draft.thread_id)
        thread = draft.user_id, draft.thread_id
        last = self._last.get(thread, _Passed())
        earlier_us = min(max(last.earlier_us + 1, time_us or 0), ids.MAX_MICROSECONDS)
        time_us = last.time_us if time_us is None else time_us
        self.check_time(time_us)
        self._last[thread] = _Passed(time_us, earlier_us)
        shard = self._shard_of(*thread)
        moment = ids.timestamp(time_us)
        # The owner is part of the identity: one conversation may belong to several.
        tail = ids.source_bits(*thread, *identity) >> PLACE_BITS
        message = msgspec.structs.replace(
            draft, id=ids.mint(time_us, shard, tail), created_at=moment, updated_at=moment
        )
        bits = ids.source_bits(*thread, *earlier_identity)
        return Minted(message, where, ids.mint(earlier_us, shard, bits))

    def check_time(self, time_us: int) -> None:
        """Refuses a time that no message of the past can have."""
        if time_us < 0:
            raise InvalidMessage("time_before_1970", "its time is before 1970")
        if time_us > self._latest_us:
            raise InvalidMessage("time_ahead", "its time is more than a day ahead")


def check_keepable(message: Message) -> None:
    """Refuses what a tier could not keep, as the API does, but for empty text."""
    check_user_id(message.user_id)
    check_thread_id(message.thread_id)
    check_role(message.role)
    if message.content:
        check_content(message.content)
    check_metadata(message.metadata, may_be_marked=True)


def new_draft(
    user_id: str, thread_id: str, role: str, content: str, metadata: dict[str, Any]
) -> Message:
    """A message as its source has it, without an id and times."""
    return Message(
        version=1,
        id="",
        thread_id=thread_id,
        user_id=user_id,
        role=role,
        content=content,
        metadata=metadata,
        created_at="",
        updated_at="",
    )


def owner_of(named: str | None, own: str | None) -> str:
    """Whose a line is: of the user named for all, else of its own. Raises `InvalidMessage`."""
    owner = named or own
    if owner is None:
        raise InvalidMessage("no_owner", "it has no user_id; name one for all with --user")
    return owner


def time_us_from(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time with a zone; finer digits are cut off. Raises
    `InvalidMessage`."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise InvalidMessage("time_invalid", "its time is not RFC 3339 with a zone")
    day, clock, fraction, zone = found.groups()
    if clock.endswith(":60"):
        raise InvalidMessage("time_invalid", "its time is a leap second, which no tier can keep")
    offset = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{(fraction or '.')[:7]:0<7}{offset}")
    except ValueError:
        raise InvalidMessage("time_invalid", "its time does not exist") from None
    return ids.time_us(moment)


def attempt(where: str, make: Callable[..., Item], *arguments: Any) -> Item:
    """What `make` gives, or its refusal: one bad message never ends an import."""
    try:
        return make(*arguments)
    except InvalidMessage as error:
        return RefusedLine(where, str(error))
    except msgspec.ValidationError as error:
        return RefusedLine(where, f"it has not the shape of a message: {error}")
    except RecursionError:
        return RefusedLine(where, "it is nested too deeply")
    except msgspec.DecodeError as error:
        # Without the place, so that lines with the same fault are one kind of refusal.
        return RefusedLine(where, f"it is not JSON: {_AT_BYTE.sub('', str(error))}")
