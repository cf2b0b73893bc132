"""A client of the WebSocket, and one of the event stream."""

import json
import socket as sockets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

RECEIVE_SECONDS = 30


class Socket:
    """One user's socket. Frames are dictionaries."""

    def __init__(self, link: ClientConnection) -> None:
        self.link = link

    def send_frame(self, kind: str, **fields: Any) -> None:
        """Sends a frame."""
        self.link.send(json.dumps({"type": kind, **fields}))

    def send(self, thread_id: str, message: str, **fields: Any) -> dict[str, Any]:
        """Sends a message, and gives its confirmation, which must be what comes first."""
        self.send_frame("send_message", thread_id=thread_id, message=message, **fields)
        return self.receive("message_confirmed")

    def receive(self, *kinds: str, seconds: float = RECEIVE_SECONDS) -> dict[str, Any]:
        """The next frame, which must be of one of these kinds if any are named."""
        frame: dict[str, Any] = json.loads(self.link.recv(timeout=seconds))
        assert not kinds or frame["type"] in kinds, frame
        return frame

    def receive_all(self, count: int) -> list[dict[str, Any]]:
        """The next frames."""
        return [self.receive() for _ in range(count)]

    def receive_until(self, kind: str) -> list[dict[str, Any]]:
        """The next frames up to one of a kind, that one included."""
        heard = [self.receive()]
        while heard[-1]["type"] != kind:
            heard.append(self.receive())
        return heard

    def receive_kind(self, kind: str, count: int) -> list[dict[str, Any]]:
        """The next frames of a kind, without what comes between them."""
        heard: list[dict[str, Any]] = []
        while len(heard) < count:
            heard += [frame for frame in [self.receive()] if frame["type"] == kind]
        return heard

    def is_silent(self) -> bool:
        """Whether nothing comes before the answer to what is asked now."""
        self.send_frame("ping", client_ref="is anything left?")
        return self.receive()["type"] == "pong"

    def closed_with(self, seconds: float = RECEIVE_SECONDS) -> tuple[int, str]:
        """The code and reason by which the server ends it, waited for."""
        try:
            while True:
                self.link.recv(timeout=seconds)
        except ConnectionClosed as error:
            assert error.rcvd is not None, error
            return error.rcvd.code, error.rcvd.reason


@contextmanager
def opened(url: str, token: str | None = None, **options: Any) -> Iterator[Socket]:
    """A socket as it is after its handshake; options are those of `websockets`."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    headers |= options.pop("headers", {})
    options = {"proxy": None, "compression": None} | options
    with connect(url, additional_headers=headers, close_timeout=1, **options) as link:
        yield Socket(link)


@contextmanager
def listening(url: str, token: str, **options: Any) -> Iterator[Socket]:
    """A socket that is live, and has nothing unread."""
    with opened(url, token, **options) as socket:
        socket.receive("authenticated")
        assert socket.is_silent()
        yield socket


@contextmanager
def lazily(url: str, token: str) -> Iterator[Socket]:
    """A socket whose client takes in next to nothing before it is asked to."""
    with listening(url, token, sock=_narrow(url), max_queue=1, ping_interval=None) as socket:
        yield socket


@contextmanager
def streamed(
    url: str, token: str, headers: dict[str, str] | None = None, **query: Any
) -> Iterator[Iterator[dict[str, str]]]:
    """The events of an event stream, each as its fields; those are `id`, `event` and `data`."""
    with requests.Session() as session:
        session.trust_env = False
        given = {"Authorization": f"Bearer {token}"} | (headers or {})
        with session.get(
            url, headers=given, params=query, stream=True, timeout=RECEIVE_SECONDS
        ) as reply:
            assert reply.status_code == 200, reply.text
            assert reply.headers["Content-Type"].startswith("text/event-stream")
            lines = reply.iter_lines(chunk_size=1)
            # The first line says that the server listens.
            assert next(lines).startswith(b":")
            yield _events(lines)


def _events(lines: Iterator[bytes]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().partition(": ")
        if name:
            event[name] = value
        else:
            if "data" in event:
                yield event
            event = {}


def _narrow(url: str) -> sockets.socket:
    """A connection that takes in little by itself."""
    host, _, port = url.split("/")[2].partition(":")
    link = sockets.socket()
    link.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    link.connect((host, int(port)))
    return link
