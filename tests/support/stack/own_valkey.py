"""A data Valkey of a test's own, with settings that nobody should give it."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, RedisError
from redis.retry import Retry

from embedded.ports import HOST, free_port
from embedded.valkey import data_server
from support.waiting import eventually


class OwnValkey:
    """A running Valkey."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
        self.process = process
        self.url = url
        self.folder = folder
        self._clients: list[Redis] = []

    def client(self, **options: Any) -> Redis:
        """A client that never repeats a call; closed with the server."""
        given = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0), **options}
        client: Redis = Redis.from_url(self.url, **given)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Ends the server, however it is."""
        for client in self._clients:
            client.close()
        self.process.kill()
        self.process.wait()


@contextmanager
def own_valkey(
    folder: Path,
    port: int = 0,
    password: str = "",
    env: Mapping[str, str] | None = None,
    **options: str,
) -> Iterator[OwnValkey]:
    """Starts one whose `options` come after those of the embedded one, so that they win.

    Underscores in names stand for hyphens; without a `port` it takes a free one, and without a
    `password` it asks for none. `env` is more of its environment.
    """
    port = port or free_port()
    server = data_server(folder, port, password or "none", max_memory="64mb", debug=True)
    command = [*server.spec.command, *(() if password else ("--requirepass", ""))]
    url = server.url if password else f"redis://{HOST}:{port}/0"
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", *value.split(" ")]
    with (folder / "valkey.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
    valkey = OwnValkey(process, url, folder)
    try:
        eventually(lambda: _takes_calls(valkey))
        yield valkey
    finally:
        valkey.close()


def _takes_calls(valkey: OwnValkey) -> bool:
    assert valkey.process.poll() is None, (valkey.folder / "valkey.log").read_text()[-2000:]
    try:
        valkey.client().ping()
    except AuthenticationError:
        return True
    except ConnectionError:
        return False
    except RedisError:
        # A refusal is an answer too: it runs as it was told to.
        return True
    return True
