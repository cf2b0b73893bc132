"""Frames for clients: JSON, and the bytes of a WebSocket frame and of a server-sent event.

A frame goes to all of a user's sockets and streams, so its bytes are made for the first of them
and shared by the others.
"""

import struct
from collections.abc import Callable
from functools import cached_property
from typing import Any

import msgspec

from models import ids
from models.caveats import Acknowledgement
from models.events import Event
from webapp.realtime.protocol import Position, position

LAST_SECOND = 253_402_300_799.0
"""The last second of the year 9999, where RFC 3339 ends."""

_TEXT_AND_FINAL = 0x81
_SHORT, _TWO_BYTES = 125, 0xFFFF
_IN_TWO, _IN_EIGHT = 126, 127


class EventFrame:
    """One frame. `event_id` is what a client gives back to resume from here, empty where there is
    nothing to resume from; `event` is the event that it carries, if any."""

    def __init__(
        self, kind: str, event_id: str, payload: bytes, event: Event | None = None
    ) -> None:
        self.kind = kind
        self.event_id = event_id
        self.payload = payload
        self.event = event

    @cached_property
    def position(self) -> Position:
        """The position of its event in the stream."""
        return position(self.event_id)

    @cached_property
    def text(self) -> bytes:
        """As a text frame of a WebSocket, which a server sends unmasked (RFC 6455, section 5.2)."""
        size = len(self.payload)
        if size <= _SHORT:
            head = struct.pack("!BB", _TEXT_AND_FINAL, size)
        elif size <= _TWO_BYTES:
            head = struct.pack("!BBH", _TEXT_AND_FINAL, _IN_TWO, size)
        else:
            head = struct.pack("!BBQ", _TEXT_AND_FINAL, _IN_EIGHT, size)
        return head + self.payload

    @cached_property
    def lines(self) -> bytes:
        """As an event of an event stream. JSON has no line breaks of its own."""
        head = f"id: {self.event_id}\nevent: {self.kind}\ndata: ".encode()
        return head + self.payload + b"\n\n"


def frame(kind: str, event_id: str = "", /, **fields: Any) -> EventFrame:
    """A frame with these fields, except those that are None."""
    named = {"type": kind, "event_id": event_id or None} | fields
    shown = {name: value for name, value in named.items() if value not in (None, msgspec.UNSET)}
    return EventFrame(kind, event_id, msgspec.json.encode(shown))


def reset_frame(event_id: str, detail: str) -> EventFrame:
    """The frame that tells a client that it has missed events."""
    return frame("reset", event_id, detail=detail)


def authenticated_frame(
    event_id: str, user_id: str, until: float, client_ref: str | int | None = None
) -> EventFrame:
    """The frame that tells a client whose token it brought, and when that expires."""
    expires_at = ids.timestamp(int(min(until, LAST_SECOND) * 1_000_000))
    return frame(
        "authenticated", event_id, user_id=user_id, expires_at=expires_at, client_ref=client_ref
    )


def of_event(event: Event, time_us: int | None = None) -> EventFrame:
    """The frame of an event. Its time is `time_us`, without it that of its id."""
    if time_us is None:
        time_us = position(event.id)[0] * 1000
    if event.type == "message_chunk":
        # The record has all the other fields.
        head = msgspec.json.encode({"type": event.type, "event_id": event.id})
        payload = head[:-1] + b"," + (event.record or b"{}")[1:]
    else:
        fields = _fields(event) | {"timestamp": ids.timestamp(time_us)}
        payload = frame(event.type, event.id, **fields).payload
    return EventFrame(event.type, event.id, payload, event)


def direct_frames(new_id: Callable[[], str], done: Acknowledgement) -> list[EventFrame]:
    """The frames of a message that was written while Redis was down, each with an id of its own;
    the event stream does not have them."""
    message = done.message
    received = Event(
        new_id(),
        "message_received",
        message.user_id,
        message.thread_id,
        message.id,
        message.version,
        done.record,
        False,
    )
    moment = ids.time_us_of(message.id)
    frames = [of_event(received, moment)]
    if done.tier_used == "postgresql":
        persisted = received._replace(id=new_id(), type="message_persisted", record=None)
        frames.append(of_event(persisted, moment))
    return frames


def _fields(event: Event) -> dict[str, Any]:
    record = msgspec.Raw(event.record or b"null")
    common = {"message_id": event.message_id, "thread_id": event.thread_id}
    if event.type == "message_persisted":
        return common | {"version": event.version, "tier_used": "postgresql"}
    if event.type == "message_deleted":
        return common | {"user_id": event.user_id, "version": event.version}
    if event.type == "thread_updated":
        return common | {"user_id": event.user_id, "version": event.version, "thread": record}
    return common | {
        "user_id": event.user_id,
        "version": event.version,
        "status": "processing",
        "message": record,
    }
