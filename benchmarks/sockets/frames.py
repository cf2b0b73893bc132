"""The frames of a socket as a client reads and writes them."""

from typing import Any

import msgspec


class ClientFrame(msgspec.Struct):
    """The members of a frame that a client needs; the others are not decoded."""

    type: str
    event_id: str = ""
    message_id: str | None = None
    thread_id: str | None = None
    user_id: str = ""
    client_ref: str | int | None = None
    code: str = ""
    repeated: bool = False


_decoder = msgspec.json.Decoder(ClientFrame)


def decoded(text: bytes | str) -> ClientFrame:
    """A decoded frame. Raises `msgspec.DecodeError`."""
    return _decoder.decode(text)


def encoded(kind: str, **fields: Any) -> bytes:
    """A frame for the server."""
    return msgspec.json.encode({"type": kind, **fields})
