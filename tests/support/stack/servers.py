"""Servers without a worker: what a test puts into the log stays there until the test drains it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selftest.bed.launching import clean_environment, launch_servers
from support.stack.environment import COMPLETE


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """Starts the servers; gives an environment that names them."""
    folder.mkdir(exist_ok=True)
    with launch_servers(folder, clean_environment(), max_memory="128mb") as running:
        yield running.env | {"THREADKEEP_JWT_SECRET": COMPLETE["THREADKEEP_JWT_SECRET"]}
