"""Closes silent connections. The HTTP server has one limit for all of them; those that have sent no
request yet need less time than those that may come back."""

import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

FIRST_REQUEST_MILLISECONDS = 5_000
IDLE_MILLISECONDS = 6_500
"""For the others, while connections run short. A client that calls every five seconds stays."""
FEW = 4
"""Connections run short when no more than one in so many is left."""
FILES = Path("/proc/self/fd")

_NUMBER, _LONG = struct.Struct("I"), struct.Struct("Q")
_ESTABLISHED = 1
_LAST_RECEIVED_AT, _ACKNOWLEDGED_AT = 52, 120
"""Within `struct tcp_info` of Linux, which only ever grows."""
_INFO_BYTES = _ACKNOWLEDGED_AT + _LONG.size


class SilentConnections:
    """The connections to the port of this process, as Linux reports them."""

    def __init__(self, port: int, capacity: int) -> None:
        self._port = port
        self._capacity = capacity
        self.served: set[str] = set()
        """The addresses (`host:port`) of clients whose requests have yet to be answered."""
        self._served_before: set[str] = set()

    def close_silent(self) -> None:
        """Closes the silent ones. Called about once a second."""
        spared = self.served | self._served_before
        # An answer given only now may not have left yet.
        self._served_before = set(self.served)
        files = os.listdir(FILES)
        run_short = len(files) > self._capacity - self._capacity // FEW
        for name in files:
            # Files closed meanwhile, and those that are no connection, are passed over.
            with suppress(OSError):
                self._close_if_silent(int(name), spared, run_short=run_short)

    def _close_if_silent(self, file: int, spared: set[str], *, run_short: bool) -> None:
        if not stat.S_ISSOCK(os.fstat(file).st_mode):
            return
        # A file number may be reused by now; this duplicate stays the same connection.
        with socket.fromfd(file, socket.AF_INET, socket.SOCK_STREAM) as link:
            if self._is_silent(link, spared, run_short=run_short):
                link.shutdown(socket.SHUT_RDWR)

    def _is_silent(self, link: socket.socket, spared: set[str], *, run_short: bool) -> bool:
        own = link.getsockname()
        # The name of a socket between processes is a string.
        if not isinstance(own, tuple) or own[1] != self._port:
            return False
        info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        if len(info) < _INFO_BYTES or info[0] != _ESTABLISHED:
            return False
        host, port = link.getpeername()[:2]
        if (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") in spared:
            return False
        silent = _NUMBER.unpack_from(info, _LAST_RECEIVED_AT)[0]
        was_answered = _LONG.unpack_from(info, _ACKNOWLEDGED_AT)[0] > 1
        most = IDLE_MILLISECONDS if was_answered else FIRST_REQUEST_MILLISECONDS
        return bool(silent > most and (run_short or not was_answered))
