"""JSON Lines: a message or a thread a line, as `threadkeep export` writes them or as others can.

A line needs `thread_id` and `content` (or `message`); `user_id`, `role`, `metadata`, `created_at`
and `id` may be there. Each message has its own time; lines of a thread with the same time stand in
their order, and one without a time has that of the line before it. A line with `content_hash` is a
version as it was exported, and comes back exactly: its hash must match it. A line with `thread`
alone is a thread's own data.
"""

import hashlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Annotated, Any, BinaryIO, NamedTuple, TypeVar

import msgspec

from jobs.transfer.formats import thread_lines
from jobs.transfer.formats.source import (
    Item,
    Kept,
    Minted,
    Minter,
    RefusedLine,
    attempt,
    check_keepable,
    new_draft,
    owner_of,
    time_us_from,
)
from models import codec, ids
from models.message import InvalidMessage, Message

MAX_LINE_BYTES = 1024 * 1024
"""Twice what 64 KiB of content and 16 KiB of metadata take with every character escaped."""

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class JsonLine(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields of a line. One that is not known is refused: nothing is dropped in silence."""

    thread_id: str
    content: str | None = None
    message: str | None = None
    user_id: str | None = None
    role: str = "user"
    metadata: dict[str, Any] | None = None
    created_at: str | None = None
    id: str | None = None
    version: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)] = 1
    updated_at: str | None = None
    deleted_at: str | None = None
    content_hash: str | None = None


class Defaults(NamedTuple):
    """What a line does not say: its owner, who then is the owner of all, and the time of a
    thread's first message."""

    user_id: str | None = None
    time_us: int | None = None


_COUNT = """
INSERT INTO seen (name, times) VALUES (?, 1)
ON CONFLICT (name) DO UPDATE SET times = times + 1 RETURNING times
"""

Decoded = TypeVar("Decoded")
_line = msgspec.json.Decoder(JsonLine)


def source(
    stream: BinaryIO,
    defaults: Defaults = Defaults(),  # noqa: B008 - it is immutable.
    clock_ns: Callable[[], int] = time.time_ns,
) -> Iterator[Item]:
    """Messages, threads and refusals, line by line; no more than a line is held at a time."""
    with closing(Occurrences()) as occurrences:
        reader = _Reader(defaults, Minter(clock_ns() // 1000), occurrences)
        for number, line in _lines(stream):
            where = f"line {number}"
            if line is None:
                yield RefusedLine(where, f"it has more than {MAX_LINE_BYTES} bytes")
            elif line.strip():
                yield attempt(where, reader.item, line, where)


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None for one that is too long to be a message, which is passed over."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) <= MAX_LINE_BYTES:
            # Some editors begin a file with a byte order mark.
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            continue
        while not line.endswith(b"\n") and (rest := stream.readline(MAX_LINE_BYTES)):
            line = rest
        yield number, None


def _decoded(line: bytes, decode: Callable[[bytes], Decoded]) -> Decoded:
    try:
        return decode(line)
    except UnicodeDecodeError:
        raise InvalidMessage("not_utf8", "it is not UTF-8") from None
    except msgspec.MsgspecError:
        if _has_lone_surrogate(line):
            raise InvalidMessage("text_unkeepable", "it holds a lone surrogate") from None
        raise


def _has_lone_surrogate(line: bytes) -> bool:
    """Whether a line is JSON but for half a character; pairs are a usual way to write one."""
    if _SURROGATE_ESCAPE.search(line) is None:
        return False
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


class Occurrences:
    """Counts equal lines of a source, however long it is: about 40 bytes of a temporary file for
    each, on disk once memory is not small any more."""

    def __init__(self) -> None:
        # A database without a name is a temporary file that nobody else sees.
        self._seen = sqlite3.connect("", isolation_level=None)
        self._seen.execute("PRAGMA journal_mode = OFF")
        self._seen.execute("CREATE TABLE seen (name BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID")

    def count(self, *fields: str) -> int:
        """How often these fields came before."""
        name = hashlib.blake2b("\0".join(fields).encode(), digest_size=16).digest()
        return int(self._seen.execute(_COUNT, (name,)).fetchone()[0]) - 1

    def close(self) -> None:
        """Gives the room back."""
        self._seen.close()


class _Reader:
    """Makes items of lines."""

    def __init__(self, defaults: Defaults, minter: Minter, occurrences: Occurrences) -> None:
        self._defaults = defaults
        self._minter = minter
        self._occurrences = occurrences

    def item(self, text: bytes, where: str) -> Kept:
        """The message or thread of a line. Raises `InvalidMessage`, or msgspec's errors."""
        if thread_lines.is_thread(text):
            return _decoded(text, lambda line: thread_lines.decode(line, self._defaults.user_id))
        line = _decoded(text, _line.decode)
        owner = owner_of(self._defaults.user_id, line.user_id)
        if line.content_hash is not None and owner == line.user_id:
            return _exported(line, self._minter)
        if line.deleted_at is not None:
            raise InvalidMessage("tombstone", "it is deleted, and not as its owner exported it")
        return self._foreign(line, owner, where)

    def _foreign(self, line: JsonLine, owner: str, where: str) -> Minted:
        """A message that was not exported from here, under an id from what its source calls it."""
        text = _text(line)
        time_us = self._time_of(line, owner)
        earlier: tuple[str, ...] = (line.role, text, line.created_at or "")
        identity: tuple[str, ...]
        if line.id is not None:
            identity = earlier = (line.id,)
        else:
            metadata = codec.canonical_metadata(line.metadata or {})
            said = (line.role, text, metadata)
            moment = "" if line.created_at is None else str(time_us)
            times = self._occurrences.count(owner, line.thread_id, moment, *said)
            identity = (*said, "at" if moment else "after", str(times))
        made = new_draft(owner, line.thread_id, line.role, text, line.metadata or {})
        return self._minter.mint(where, made, time_us, ("jsonl", *identity), ("jsonl", *earlier))

    def _time_of(self, line: JsonLine, owner: str) -> int | None:
        """The time of a line; None for that of the line before it."""
        if line.created_at is not None:
            return time_us_from(line.created_at)
        if line.id is not None and ids.is_id(line.id):
            return ids.time_us_of(line.id)
        if self._minter.has_passed(owner, line.thread_id):
            return None
        # The time of the import would give other ids at the next one.
        if self._defaults.time_us is None:
            raise InvalidMessage(
                "no_time", "neither it nor a line before it has created_at; name a time with --time"
            )
        return self._defaults.time_us


def _exported(line: JsonLine, minter: Minter) -> Message:
    """A version as it was exported, once it is proven to be that."""
    if None in (line.id, line.content, line.metadata, line.created_at, line.updated_at):
        raise InvalidMessage("incomplete", "it has a content_hash but not every field hashed")
    message = msgspec.convert(line, Message, from_attributes=True)
    _check_own_id(message)
    times_us = [time_us_from(moment) for moment in _times(message)]
    _text(line)
    check_keepable(message)
    minter.check_time(times_us[0])
    if message.deleted_at is not None and (message.content or message.metadata):
        raise InvalidMessage("tombstone", "it is deleted and yet has content or metadata")
    if not codec.is_intact(message):
        raise InvalidMessage("hash", "its content_hash does not match it")
    if [ids.timestamp(time_us) for time_us in times_us] != _times(message):
        raise InvalidMessage("time_invalid", "a time is not as exported: UTC with six digits")
    minter.note(message)
    return message


def _times(message: Message) -> list[str]:
    deleted = [] if message.deleted_at is None else [message.deleted_at]
    return [message.created_at, message.updated_at, *deleted]


def _check_own_id(message: Message) -> None:
    """An id must say of its message what the tiers read from it: its time and its shard."""
    if not ids.is_id(message.id):
        raise InvalidMessage("id_invalid", "its id is not a message id")
    if ids.timestamp(ids.time_us_of(message.id)) != message.created_at:
        raise InvalidMessage("id_invalid", "its id is of another time than created_at")
    if ids.shard_in(message.id) != ids.shard_of(message.user_id, message.thread_id):
        raise InvalidMessage("id_invalid", "its id is of another thread")


def _text(line: JsonLine) -> str:
    """What was written; it must stand in one of two members."""
    if (line.content is None) == (line.message is None):
        raise InvalidMessage("content", "it must have content or message, and not both")
    return line.content if line.content is not None else line.message or ""
