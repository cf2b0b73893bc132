"""Clients that send slowly, nothing at all, or go in the middle: many of them, in one thread."""

import selectors
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from webapp.http.file_limit import raise_file_limit

DRIP_SECONDS = 1.0
LARGE = 33_000_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ESTABLISHED = "01"


def post(token: str | None, length: int) -> bytes:
    """The headers of a message, and the first byte of a body that never comes to its end."""
    return _head("POST /api/threads/slow/messages", token, f"Content-Length: {length}") + b"{"


def chunked(token: str | None) -> bytes:
    """Likewise of a body in chunks."""
    head = _head("POST /api/threads/slow/messages", token, "Transfer-Encoding: chunked")
    return head + b"1\r\n{\r\n"


def get(path: str, token: str | None, length: int) -> bytes:
    """Likewise of a request that has no use for a body."""
    return _head(f"GET {path}", token, f"Content-Length: {length}") + b"{"


def _head(line: str, token: str | None, framing: str) -> bytes:
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{line} HTTP/1.1\r\nHost: x\r\n{bearer}{framing}\r\n\r\n".encode()


class SlowClients:
    """So many connections that say the same; `statuses` counts what they were answered."""

    def __init__(self, url: str, count: int, says: bytes, drip: bytes = b"") -> None:
        """`drip` is what each of them goes on to say every second."""
        raise_file_limit()
        parts = urlsplit(url)
        self._drip = drip
        self._open: dict[socket.socket, bytes] = {}
        self.statuses: Counter[int] = Counter()
        self.ended = 0
        for _ in range(count):
            link = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30)
            link.sendall(says)
            link.setblocking(False)
            self._open[link] = b""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for link in self._open:
            link.close()

    @property
    def are_all_ended(self) -> bool:
        """Whether the server has ended each of their connections."""
        return not self._open

    def vanish(self) -> None:
        """All that are left go at once, in the middle of what they said."""
        self.__exit__()
        self._open = {}

    def _go_on(self) -> None:
        due = time.monotonic() + DRIP_SECONDS
        with selectors.DefaultSelector() as selector:
            for link in self._open:
                selector.register(link, selectors.EVENT_READ)
            while self._open and not self._stop.is_set():
                for key, _ in selector.select(timeout=0.1):
                    self._hear(selector, key.fileobj)
                if self._drip and time.monotonic() >= due:
                    due = time.monotonic() + DRIP_SECONDS
                    self._say_more()

    def _hear(self, selector: selectors.BaseSelector, link: object) -> None:
        assert isinstance(link, socket.socket)
        try:
            heard = link.recv(65_536)
        except OSError:
            heard = b""
        if heard:
            if not self._open[link]:
                self.statuses[int(heard[9:12])] += 1
            self._open[link] += heard
            return
        selector.unregister(link)
        link.close()
        del self._open[link]
        self.ended += 1

    def _say_more(self) -> None:
        for link in list(self._open):
            try:
                link.send(self._drip)
            except OSError:
                continue


def held(url: str) -> int:
    """How many connections the program that listens there holds."""
    local = f":{urlsplit(url).port or 0:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(local) and row[3] == ESTABLISHED for row in rows)
