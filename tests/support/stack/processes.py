"""A real stack as a process of its own, and the proof that nothing is left of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.supervision import guardian, procfs
from selftest.bed.launching import Launched, StackFailed, clean_environment, launch_up
from support.waiting import eventually

__all__ = ["PATIENT", "STOP_SECONDS", "Launched", "clean_environment", "is_alive", "launched"]

STOP_SECONDS = 20
"""Programs and servers are killed after four and three; the rest is for a busy machine."""
DELETE_SECONDS = 90
SHIPS_SOON = {"THREADKEEP_SHIP_LOOK_SECONDS": "0.1"}
"""Most tests wait until ClickHouse has something, for a second each by the default."""
PATIENT = {
    "THREADKEEP_REDIS_TIMEOUT_SECONDS": "4",
    "THREADKEEP_REDIS_SLOW_SECONDS": "4",
    "THREADKEEP_DATABASE_TIMEOUT_SECONDS": "6",
    "THREADKEEP_DATABASE_SLOW_SECONDS": "5",
    "THREADKEEP_DATABASE_QUICK_SECONDS": "5",
    "THREADKEEP_CLICKHOUSE_TIMEOUT_SECONDS": "8",
    "THREADKEEP_CLICKHOUSE_WRITE_TIMEOUT_SECONDS": "5",
}
"""A disk or a processor that is busy for a second is no outage, where a test is about none."""


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    found = procfs.entry(pid)
    return found is not None and found.alive


@contextmanager
def launched(folder: Path, *without: str, **settings: str) -> Iterator[Launched]:
    """A stack of `threadkeep up` with servers of its own, stopped at the end, and without the
    programs named.

    What of these settings is patience, `env` has too: for whatever else is run on the stack."""
    stack = launch_up(folder, clean_environment() | SHIPS_SOON | settings, *without)
    try:
        stack.wait_until_ready()
    except StackFailed as error:
        stack.stop()
        raise RuntimeError(f"no stack to test against: {error}") from error
    stack.env |= {name: settings[name] for name in PATIENT.keys() & settings.keys()}
    try:
        yield stack
    except BaseException:
        stack.stop()
        raise
    _stop(stack, folder)


def _are_gone(pids: dict[str, int], but: str = "") -> bool:
    alive = [name for name, pid in pids.items() if name != but and is_alive(pid)]
    assert not alive, f"still alive after the stop: {alive}"
    return True


def _stop(stack: Launched, folder: Path) -> None:
    """Stops it as an operator would, and proves that nothing is left of it."""
    pids = {**stack.announced_pids(), **stack.pids_now()}
    try:
        os.kill(stack.pid, signal.SIGTERM)
        eventually(lambda: _are_gone(pids, but=guardian.NAME), STOP_SECONDS)
        # It deletes its data last, which takes as long as the disk does.
        eventually(lambda: _are_gone({**pids, "up": stack.pid}), DELETE_SECONDS)
    finally:
        stack.stop()
    assert not list(folder.glob("threadkeep-*")), "an ephemeral stack left its data"
