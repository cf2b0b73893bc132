"""What clients send on a WebSocket: one shape for each type of frame."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from webapp.http.body.reading import decode
from webapp.http.errors import BadRequest
from webapp.http.schemas import MessageText, Metadata, RequestBody, RoleField

MOST_THREADS = 1_000

ClientRef = Annotated[str, Meta(max_length=256)] | int | None
"""Chosen by the client, and given back with the answer."""


class Authenticate(RequestBody, tag="authenticate", kw_only=True, frozen=True):
    """Who is calling; sent again, it extends the socket beyond the end of the first token. With an
    API key it may name the user on whose behalf."""

    token: str
    on_behalf_of: str | None = None
    client_ref: ClientRef = None


class SendMessage(MessageText, tag="send_message", kw_only=True, frozen=True):
    """A new message."""

    thread_id: str
    role: RoleField = "user"
    metadata: Metadata = msgspec.field(default_factory=dict)
    idempotency_key: str | None = None
    client_ref: ClientRef = None


class Subscribe(RequestBody, tag="subscribe", kw_only=True, frozen=True):
    """Which threads to receive events of, all if none are named, and from which event on."""

    thread_ids: Annotated[list[str], Meta(max_length=MOST_THREADS)] | None = None
    last_event_id: Annotated[str, Meta(max_length=256)] | None = None
    client_ref: ClientRef = None


class Ping(RequestBody, tag="ping", kw_only=True, frozen=True):
    """Asks for a `pong`."""

    client_ref: ClientRef = None


ClientCommand = Authenticate | SendMessage | Subscribe | Ping


class _Referring(msgspec.Struct):
    client_ref: ClientRef = None


def decode_frame(text: bytes) -> ClientCommand:
    """A client's frame. Raises `BadRequest`, which names the field that is wrong."""
    command: ClientCommand = decode(text, ClientCommand)  # type: ignore[arg-type]
    return command


def client_ref_in(text: bytes) -> str | int | None:
    """The `client_ref` of a frame that is otherwise wrong, if it has one."""
    try:
        return decode(text, _Referring).client_ref
    except BadRequest:
        return None


_OWN = re.compile(r"([0-9]{1,19}-[0-9]{1,19})(?:\.[0-9]{1,19})?")

NO_CURSOR = ""
"""The cursor of a client that came while Redis was down."""

Position = tuple[int, int]


def cursor_in(event_id: str) -> str:
    """The cursor in an event id, `NO_CURSOR` where it has none."""
    found = _OWN.fullmatch(event_id)
    return found.group(1) if found else NO_CURSOR


def position(cursor: str) -> Position:
    """A cursor as (milliseconds, sequence), to be compared; `NO_CURSOR` comes before all others."""
    if not cursor:
        return (0, 0)
    milliseconds, _, sequence = cursor.partition("-")
    return int(milliseconds), int(sequence)
