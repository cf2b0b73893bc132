"""A load generator: closed-loop HTTP clients over plain sockets in one thread.

Each client sends its next request when it has the answer to the last. Requests are rendered before
the clock starts and answers are only looked at for their status and length, so that the generator
takes little of the two cores that it shares with the servers, and the same for everything measured.
"""

import gc
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

LOST_SECONDS = 10
"""An answer that takes longer is an error."""
ERROR_BYTES = 300
_HEADER_END = b"\r\n\r\n"
_LENGTH = b"ength:"
"""The end of the name of a header that servers write in either case."""

Requests = Iterator[bytes]
"""The rendered requests of a client, for ever."""


class LoadSample(NamedTuple):
    """The result of one run: latencies in seconds, how many answers were not 200, and the beginning
    of the first of these."""

    latencies: list[float]
    errors: int
    seconds: float
    first_error: str = ""

    @property
    def per_second(self) -> float:
        """Successful answers a second."""
        return (len(self.latencies) - self.errors) / self.seconds

    def percentile(self, share: float) -> float:
        """A latency in milliseconds; `share` from 0 to 1."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class LoadClient:
    """One connection; `body` is that of the last whole answer."""

    def __init__(self, address: tuple[str, int], requests: Requests) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = requests
        self._received = b""
        self._whole = 0
        self.body = b""
        self.sent_at = 0.0

    def send(self) -> None:
        """Sends the next request."""
        self.sent_at = time.perf_counter()
        self.socket.sendall(next(self._requests))

    def receive(self) -> bytes | None:
        """The status of a whole answer, or None while more is to come."""
        chunk = self.socket.recv(262_144)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._received += chunk
        if not self._whole:
            self._whole = _length(self._received)
        if not self._whole or len(self._received) < self._whole:
            return None
        answer, self._received, self._whole = self._received, b"", 0
        self.body = answer[answer.find(_HEADER_END) + len(_HEADER_END) :]
        return answer[9:12]

    def error(self, status: bytes) -> str:
        """What the last answer says, for people."""
        return f"{status.decode()} {self.body[:ERROR_BYTES].decode(errors='replace')}"


def _length(answer: bytes) -> int:
    """The length of an answer with its headers, or 0 while these are not all there."""
    end = answer.find(_HEADER_END)
    if end < 0:
        return 0
    at = answer.find(_LENGTH) + len(_LENGTH)
    return end + len(_HEADER_END) + int(answer[at : answer.find(b"\r\n", at)])


def run(
    url: str,
    clients: int,
    seconds: float,
    requests: Callable[[int], Requests],
    beside: Sequence[Requests] = (),
) -> LoadSample:
    """Runs `clients` at once for `seconds`; `requests(i)` gives client i's requests.

    Further clients make the requests `beside`: of these only the errors count. Raises `OSError`
    when a connection is refused, lost, or silent for too long.
    """
    address = address_of(url)
    counted = [LoadClient(address, requests(number)) for number in range(clients)]
    everyone = counted + [LoadClient(address, other) for other in beside]
    latencies: list[float] = []
    errors: list[str] = []
    by_file = {client.socket.fileno(): client for client in everyone}
    counting = {client.socket.fileno() for client in counted}
    # A garbage collection in the generator would count as latency of all clients.
    gc.collect()
    gc.disable()
    with select.epoll() as ready:
        for file in by_file:
            ready.register(file, select.EPOLLIN)
        started = time.perf_counter()
        for client in everyone:
            client.send()
        waiting = len(everyone)
        while waiting:
            events = ready.poll(LOST_SECONDS)
            if not events:
                raise TimeoutError(f"{waiting} requests were not answered")
            for file, _ in events:
                client = by_file[file]
                status = client.receive()
                if status is None:
                    continue
                now = time.perf_counter()
                if file in counting:
                    latencies.append(now - client.sent_at)
                if status != b"200":
                    errors.append(client.error(status))
                if now - started < seconds:
                    client.send()
                else:
                    waiting -= 1
        elapsed = time.perf_counter() - started
    gc.enable()
    for client in everyone:
        client.socket.close()
    return LoadSample(latencies, len(errors), elapsed, next(iter(errors), ""))


def address_of(url: str) -> tuple[str, int]:
    """The host and the port of a server."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def once(url: str, request: bytes) -> bytes:
    """The body of the answer to one request. Raises `OSError` unless it is 200."""
    client = LoadClient(address_of(url), iter([request]))
    client.send()
    status = None
    while status is None:
        status = client.receive()
    client.socket.close()
    if status != b"200":
        raise OSError(client.error(status))
    return client.body


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
    try:
        socket.create_connection(address_of(url), 1).close()
    except OSError:
        return False
    return True
