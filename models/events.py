"""An event: one thing that happened to a user's messages and threads, in the order it did."""

from typing import Any, Literal, NamedTuple

from models import codec
from models.message import Message

EventType = Literal[
    "message_received",
    "message_updated",
    "message_deleted",
    "message_persisted",
    "message_chunk",
    "thread_updated",
]


class Event(NamedTuple):
    """One event. `id` is its place in the user's stream; `record` is the message's or thread's
    JSON as it is stored, None for `message_persisted`, and for a `message_chunk` an object of
    `message_id`, `thread_id`, `offset` in bytes of UTF-8, and `text`; `message_id` is None for a
    thread's.

    `is_late`: it was written beside Redis, and somebody may have been told already.
    """

    id: str
    type: EventType
    user_id: str
    thread_id: str
    message_id: str | None
    version: int
    record: bytes | None
    is_late: bool


def event_of(user_id: str, place: bytes, fields: dict[bytes, bytes]) -> Event | None:
    """An entry of a stream as an event; None for the mark that opened it, or what is none."""
    kind: Any = fields.get(b"type", b"").decode()
    record = fields.get(b"record")
    known = _of_thread if kind == "thread_updated" else _of_message
    # A chunk is no record of a message, and is told with the names of its own.
    described = None if kind == "message_chunk" else record
    try:
        thread_id, message_id, version = known(described) if described else _bare(fields)
    except (codec.Corrupt, KeyError, ValueError):
        return None
    is_late = b"late" in fields
    return Event(place.decode(), kind, user_id, thread_id, message_id, version, record, is_late)


def news_of(message: Message, notes: int) -> tuple[EventType, ...]:
    """What to tell late of a message that was written beside Redis, in as many writes."""
    if message.deleted_at is not None:
        return ("message_deleted",)
    if message.version == 1:
        return ("message_received",)
    # Of several writes the first made it.
    return ("message_received", "message_updated") if notes > 1 else ("message_updated",)


def _of_message(record: bytes) -> tuple[str, str | None, int]:
    message = codec.decode(record)
    return message.thread_id, message.id, message.version


def _of_thread(record: bytes) -> tuple[str, str | None, int]:
    thread = codec.decode_thread(record)
    return thread.id, None, thread.version


def _bare(fields: dict[bytes, bytes]) -> tuple[str, str | None, int]:
    return fields[b"thread"].decode(), fields[b"message"].decode(), int(fields[b"version"])
