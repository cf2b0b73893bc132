"""The instruments of several processes as one: each writes into a folder that they share.

A lock that a process holds says whether it lives, for process ids are reused.
"""

import fcntl
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from settings import Settings
from storage.telemetry.instruments import Instruments

_MOMENTARY = re.compile(r"gauge_live[a-z]+_([0-9]+)\.db")

_making = threading.Lock()
_shared: dict[int, Instruments] = {}


def instruments_of(settings: Settings) -> Instruments:
    """The instruments of this process; where it shares a folder, there are one process's only."""
    if not (settings.metrics and settings.metrics_folder):
        return Instruments(is_on=settings.metrics)
    pid = os.getpid()
    with _making:
        if pid not in _shared:
            folder = Path(settings.metrics_folder)
            folder.mkdir(parents=True, exist_ok=True)
            # Before the first value is written, or somebody would take this process for dead.
            # Nobody closes the descriptor before the process ends.
            mark = os.open(_mark(folder, pid), os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(mark, fcntl.LOCK_EX)
            # A process that is gone may have had the same id.
            _forget(folder, pid)
            _shared[pid] = Instruments()
        return _shared[pid]


def registry_of(own: Instruments, folder: str) -> CollectorRegistry:
    """What all processes of the folder have written, or this one alone."""
    if not folder:
        return own.registry
    _forget_the_dead(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return registry


def _forget_the_dead(folder: Path) -> None:
    """Removes what processes that are gone measured of the moment."""
    found = (_MOMENTARY.fullmatch(path.name) for path in folder.iterdir())
    for pid in {int(match[1]) for match in found if match}:
        if not _is_alive(folder, pid):
            _forget(folder, pid)


def _forget(folder: Path, pid: int) -> None:
    # Somebody else may just have done it.
    with suppress(FileNotFoundError):
        mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _is_alive(folder: Path, pid: int) -> bool:
    try:
        with _mark(folder, pid).open(encoding="ascii") as mark:
            fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _mark(folder: Path, pid: int) -> Path:
    return folder / f"alive_{pid}"
