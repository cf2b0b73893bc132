"""Loopback ports that are free now and stay the same between two starts."""

import json
import secrets
import socket
from pathlib import Path

from embedded.files import write_atomically

HOST = "127.0.0.1"
LOWEST_PORT = 20_000
ATTEMPTS = 200


class PortBook:
    """Remembers in a JSON file (name -> port) which port each server had last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports = _read(path)

    def port_for(self, name: str) -> int:
        """Return the port `name` had last if nobody else took it, otherwise a free one."""
        others = {port for other, port in self._ports.items() if other != name}
        last = self._ports.get(name)
        if last is not None and last not in others and is_free(last):
            return last
        port = free_port(avoid=others)
        self._ports[name] = port
        write_atomically(self._path, json.dumps(self._ports, sort_keys=True))
        return port


def free_port(avoid: set[int] | None = None) -> int:
    """Return a loopback TCP port nobody listens on and that is not in `avoid`.

    The port lies below the kernel's range for outgoing connections where possible. Inside that
    range a client that keeps reconnecting to a server being restarted can be given the server's
    own port as its local one, connect to itself, and keep the server from coming back.
    """
    ceiling = _first_outgoing_port()
    for _ in range(ATTEMPTS if ceiling > LOWEST_PORT else 0):
        # Not by the module `random`: processes that seed it alike would choose the same ports.
        port = LOWEST_PORT + secrets.randbelow(ceiling - LOWEST_PORT)
        if port not in (avoid or ()) and is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Tell whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of the last run that linger in TIME_WAIT must not count as taken; the
        # servers themselves set the same option.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def _first_outgoing_port() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
        return int(text.split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def _read(path: Path) -> dict[str, int]:
    try:
        saved = json.loads(path.read_text())
        return {str(name): int(port) for name, port in saved.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
