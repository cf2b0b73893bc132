"""What another account of this machine finds: its ports, its processes, its files."""

import json
import os
import socket
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedded.supervision import procfs

STRANGER = 65_533
"""A user number that nothing here runs as."""
LISTENING = "0A"


def as_stranger(ask: Callable[[], Any]) -> Any:
    """What `ask` gives in a process of another account, if this one may become another."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(ask, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = json.loads(pipe.read() or b'["failed", "it ended without a word"]')
    os.waitpid(child, 0)
    kind, found = said
    assert kind == "found", found
    return found


def _answer(ask: Callable[[], Any], writing: int) -> None:
    said: tuple[str, Any] = ("failed", "")
    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
        said = ("found", ask())
    except BaseException:
        said = ("failed", traceback.format_exc())
    finally:
        with os.fdopen(writing, "w", closefd=True) as pipe:
            json.dump(said, pipe)
        os._exit(0)


def listening(pids: Iterable[int]) -> set[int]:
    """The TCP ports that these processes listen on."""
    sockets = dict(_listeners())
    held: set[str] = set()
    for pid in pids:
        with suppress(OSError):
            held.update(os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    return {port for inode, port in sockets.items() if f"socket:[{inode}]" in held}


def _listeners() -> Iterable[tuple[str, int]]:
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING:
                yield fields[9], int(fields[1].rpartition(":")[2], 16)


def said_by(port: int, sent: bytes, most: int = 65_536) -> str:
    """What comes back on a new connection, until it ends or a second passes without more."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(sent)
        link.settimeout(1)
        with suppress(TimeoutError, ConnectionError):
            while len(said) < most and (piece := link.recv(most)):
                said += piece
    return said.decode("latin-1")


def request(path: str, host: str, method: str = "GET") -> bytes:
    """An HTTP request without any secret."""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def command_lines(pids: Iterable[int]) -> str:
    """What everybody on the machine sees of these processes."""
    found = []
    for pid in pids:
        with suppress(OSError):
            found.append((procfs.PROC / str(pid) / "cmdline").read_bytes())
    return b"\n".join(found).decode(errors="replace")
