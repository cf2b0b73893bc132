"""A stack of its own for a benchmark: started, waited for, stopped, and its data gone."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selftest.bed.launching import NO_LIMITS, Launched, clean_environment, launch_up

KEPT_VARIABLES = ("WEB_WORKERS", "WEB_THREADS", "WORKER_THREADS")
"""Only these: addresses of the caller's own servers must not lead a benchmark to real data."""


@contextmanager
def ephemeral_stack(**own: str) -> Iterator[dict[str, str]]:
    """Runs `threadkeep up --ephemeral` with variables of the caller's own; gives those by which to
    reach it.

    Raises `StackFailed` when it does not serve within two minutes.
    """
    with launched_stack(**own) as stack:
        yield stack.env


@contextmanager
def launched_stack(**own: str) -> Iterator[Launched]:
    """The same with its processes. Raises `StackFailed`."""
    with (
        tempfile.TemporaryDirectory(prefix="threadkeep-benchmark-") as name,
        launch_up(Path(name), environment() | own, "realtime") as stack,
    ):
        yield stack


def environment() -> dict[str, str]:
    """The environment of a stack: this one's, without what would lead to real data or limit how
    much its few users may ask for."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return clean_environment() | NO_LIMITS | kept
