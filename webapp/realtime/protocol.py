"""What clients say on a WebSocket: one shape for each type of frame."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from webapp.http.errors import BadRequest
from webapp.http.requests import decode
from webapp.http.schemas import ContentOrNone, Metadata, RequestBody, RoleField

MOST_THREADS = 1_000

ClientRef = Annotated[str, Meta(max_length=256)] | int | None
"""Chosen by the client, and given back with the answer."""


class Authenticate(RequestBody, tag="authenticate", kw_only=True, frozen=True):
    """Who is calling; also to stay beyond the end of the first token."""

    token: str
    client_ref: ClientRef = None


class SendMessage(RequestBody, tag="send_message", kw_only=True, frozen=True):
    """A new message."""

    thread_id: str
    message: ContentOrNone
    role: RoleField = "user"
    metadata: Metadata = msgspec.field(default_factory=dict)
    idempotency_key: str | None = None
    client_ref: ClientRef = None


class Subscribe(RequestBody, tag="subscribe", kw_only=True, frozen=True):
    """Which threads to hear of, all if none are named, and from where on."""

    thread_ids: Annotated[list[str], Meta(max_length=MOST_THREADS)] | None = None
    last_event_id: Annotated[str, Meta(max_length=256)] | None = None
    client_ref: ClientRef = None


class Ping(RequestBody, tag="ping", kw_only=True, frozen=True):
    """Is anybody there."""

    client_ref: ClientRef = None


Said = Authenticate | SendMessage | Subscribe | Ping


class _Referring(msgspec.Struct):
    client_ref: ClientRef = None


def understood(text: bytes) -> Said:
    """A client's frame. Raises `BadRequest` that says where it is wrong."""
    said: Said = decode(text, Said)  # type: ignore[arg-type]
    return said


def reference_in(text: bytes) -> str | int | None:
    """The `client_ref` of a frame that is otherwise not understood, if it has one."""
    try:
        return decode(text, _Referring).client_ref
    except BadRequest:
        return None


_OWN = re.compile(r"([0-9]{1,19}-[0-9]{1,19})(?:\.[0-9]{1,19})?")


NOWHERE = ""
"""The place of those who came while the stream could not be asked."""


Position = tuple[int, int]


def place_in(event_id: str) -> str:
    """The place to go on from, `NOWHERE` where there is none."""
    found = _OWN.fullmatch(event_id)
    return found.group(1) if found else NOWHERE


def position(place: str) -> Position:
    """A place as something to compare; `NOWHERE` comes before all others."""
    if not place:
        return (0, 0)
    milliseconds, _, sequence = place.partition("-")
    return int(milliseconds), int(sequence)
