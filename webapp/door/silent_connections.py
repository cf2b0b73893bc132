"""Connections that say nothing. The HTTP server gives all of them the same time; those that have
yet to be served for the first time need less of it than those that come back."""

import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

FIRST_REQUEST_MILLISECONDS = 5_000
IDLE_MILLISECONDS = 6_500
"""For the others, where places are few. Who asks every five seconds keeps its connection."""
FEW = 4
"""Places are few where no more than one in so many is left."""
FILES = Path("/proc/self/fd")

_NUMBER, _LONG = struct.Struct("I"), struct.Struct("Q")
_ESTABLISHED = 1
_LAST_RECEIVED_AT, _ACKNOWLEDGED_AT = 52, 120
"""Within `struct tcp_info` of Linux, which only ever grows."""
_INFO_BYTES = _ACKNOWLEDGED_AT + _LONG.size


class Visitors:
    """Who is connected to the port of this process, as the system sees it."""

    def __init__(self, port: int, places: int) -> None:
        self._port = port
        self._places = places
        self.served: set[str] = set()
        """The addresses of those whose requests have yet to be answered."""
        self._served_before: set[str] = set()

    def dismiss(self) -> None:
        """Ends the connections that say nothing. Called about once a second."""
        spared = self.served | self._served_before
        # An answer that was given only now may not be on its way yet.
        self._served_before = set(self.served)
        files = os.listdir(FILES)
        are_few = len(files) > self._places - self._places // FEW
        for name in files:
            # What was closed meanwhile is passed over, and so is what is no connection.
            with suppress(OSError):
                self._dismiss_one(int(name), spared, are_few=are_few)

    def _dismiss_one(self, file: int, spared: set[str], *, are_few: bool) -> None:
        if not stat.S_ISSOCK(os.fstat(file).st_mode):
            return
        # A number may be another's by now. What is held here stays what it is.
        with socket.fromfd(file, socket.AF_INET, socket.SOCK_STREAM) as link:
            if self._is_silent(link, spared, are_few=are_few):
                link.shutdown(socket.SHUT_RDWR)

    def _is_silent(self, link: socket.socket, spared: set[str], *, are_few: bool) -> bool:
        own = link.getsockname()
        # That of a socket between processes is a text.
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
        return bool(silent > most and (are_few or not was_answered))
