"""A stack of its own for a benchmark: started, waited for, stopped, and its data gone."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selftest.bed.launching import clean_environment, launch_up

KEPT_VARIABLES = ("WEB_WORKERS", "WEB_THREADS", "WORKER_THREADS")
"""Only these: addresses of the caller's own servers must not lead a benchmark to real data."""


@contextmanager
def ephemeral_stack(**own: str) -> Iterator[dict[str, str]]:
    """Runs `threadkeep up --ephemeral` with variables of the caller's own; gives those by which to
    reach it.

    Raises `StackFailed` when it does not serve within two minutes.
    """
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    with (
        tempfile.TemporaryDirectory(prefix="threadkeep-benchmark-") as name,
        launch_up(Path(name), clean_environment() | kept | own, "realtime") as stack,
    ):
        yield stack.env
