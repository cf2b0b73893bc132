"""A load generator: closed-loop HTTP clients over plain sockets in one thread.

Each client sends its next request when it has the answer to the last. Requests are rendered
before the clock starts, so that the generator takes as little processor time from the servers as
possible: about 40 µs a request, the same for everything measured.
"""

import gc
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

_HEADER_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class LoadSample(NamedTuple):
    """The result of one run: latencies in seconds, and how many answers were not 200."""

    latencies: list[float]
    errors: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Successful answers a second."""
        return (len(self.latencies) - self.errors) / self.seconds

    def percentile(self, share: float) -> float:
        """A latency in milliseconds; `share` from 0 to 1."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

    @property
    def mean_ms(self) -> float:
        """The average latency."""
        return sum(self.latencies) / len(self.latencies) * 1000


class LoadClient:
    """One connection; `body` is that of the last whole answer."""

    def __init__(self, address: tuple[str, int], requests: Iterator[bytes]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = requests
        self._buffer = b""
        self.body = b""
        self.sent_at = 0.0

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(next(self._requests))

    def receive(self) -> bytes | None:
        """The status of a whole answer, or None while more is to come."""
        chunk = self.socket.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._buffer += chunk
        head, separator, body = self._buffer.partition(_HEADER_END)
        if not separator or len(body) < _content_length(head):
            return None
        self._buffer, self.body = b"", body
        return head[9:12]


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(_LENGTH)
    end = lowered.find(b"\r\n", at)
    return int(lowered[at + len(_LENGTH) : end if end > 0 else None])


def run(
    url: str, clients: int, seconds: float, requests: Callable[[int], Iterator[bytes]]
) -> LoadSample:
    """Runs `clients` at once for `seconds`; `requests(i)` gives client i's requests for ever."""
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    everyone = [LoadClient(address, requests(number)) for number in range(clients)]
    latencies: list[float] = []
    errors = 0
    # A garbage collection in the generator would count as latency of all clients.
    gc.collect()
    gc.disable()
    with selectors.DefaultSelector() as selector:
        for client in everyone:
            selector.register(client.socket, selectors.EVENT_READ, client)
        started = time.perf_counter()
        for client in everyone:
            client.send()
        waiting = clients
        while waiting:
            for key, _ in selector.select(timeout=10):
                status = key.data.receive()
                if status is None:
                    continue
                now = time.perf_counter()
                latencies.append(now - key.data.sent_at)
                errors += status != b"200"
                if now - started < seconds:
                    key.data.send()
                else:
                    waiting -= 1
        elapsed = time.perf_counter() - started
    gc.enable()
    for client in everyone:
        client.socket.close()
    return LoadSample(latencies, errors, elapsed)


def post(url: str, path: str, token: str, body: bytes) -> bytes:
    """One rendered POST request."""
    return call("POST", url, path, token, body)


def call(method: str, url: str, path: str, token: str, body: bytes = b"") -> bytes:
    """One rendered request."""
    host = urlsplit(url).netloc
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def listens(url: str) -> bool:
    """Whether a server accepts connections there."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), 1).close()
    except OSError:
        return False
    return True
