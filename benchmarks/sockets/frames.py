"""The frames of a socket as a client reads and writes them."""

from typing import Any

import msgspec


class ClientFrame(msgspec.Struct):
    """What a client looks at of any frame; the rest is not even decoded."""

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
    """A frame. Raises `msgspec.DecodeError` for what is none."""
    return _decoder.decode(text)


def encoded(kind: str, **fields: Any) -> bytes:
    """A frame for the server."""
    return msgspec.json.encode({"type": kind, **fields})
