"""Counts the bytes that servers answer, with a relay in front of each."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
from sqlalchemy.engine import make_url

from settings import Settings

CHUNK_BYTES = 65_536


class CountingRelay:
    """Passes TCP on to one server and counts the bytes that come back."""

    def __init__(self, host: str, port: int) -> None:
        self.answered_bytes = 0
        self._target = (host, port)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections; those that are open end with their client."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for source, sink, counts in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=self._carry, args=(source, sink, counts), daemon=True
                    ).start()

    def _carry(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                sink.sendall(data)
                if counts:
                    with self._lock:
                        self.answered_bytes += len(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def counted(own: Settings) -> Iterator[tuple[Settings, dict[str, CountingRelay]]]:
    """The same servers behind relays: settings that lead through them, and the relays by tier."""
    urls = {
        "redis": ("redis_url", own.redis_url),
        "postgresql": ("database_url", own.database_url),
        "clickhouse": ("clickhouse_url", own.clickhouse_url),
    }
    relays, changed = {}, {}
    for tier, (field, url) in urls.items():
        parts = make_url(url)
        relays[tier] = CountingRelay(parts.host or "127.0.0.1", parts.port or 0)
        led = parts.set(host="127.0.0.1", port=relays[tier].port)
        changed[field] = led.render_as_string(hide_password=False)
    try:
        yield msgspec.structs.replace(own, **changed), relays
    finally:
        for relay in relays.values():
            relay.close()
