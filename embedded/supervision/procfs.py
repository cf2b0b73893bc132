"""The running processes as Linux shows them under /proc."""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ProcessEntry:
    """One process. `started` counts clock ticks since boot: with the pid it names it for good."""

    pid: int
    state: str
    session: int
    started: int

    @property
    def alive(self) -> bool:
        """Tell a running process from a zombie, which holds nothing and cannot be ended."""
        return self.state not in "ZX"


def entry(pid: int) -> ProcessEntry | None:
    """Return what runs under `pid` now, or None."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name stands in parentheses and may contain both spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessEntry(pid=pid, state=fields[0], session=int(fields[3]), started=int(fields[19]))


def entries() -> Iterator[ProcessEntry]:
    """Yield every process that can be seen, without the zombies."""
    for name in os.listdir(PROC):
        found = entry(int(name)) if name.isdigit() else None
        if found is not None and found.alive:
            yield found


def session_members(leader: int) -> list[int]:
    """Return the pids in the session that `leader` opened, whether or not it still runs."""
    return [found.pid for found in entries() if found.session == leader]


def children(pid: int) -> list[int]:
    """Return the pids of the processes that `pid` started. Raises `OSError` where it has ended, or
    the kernel does not say."""
    threads = PROC / str(pid) / "task"
    return [
        int(child)
        for thread in os.listdir(threads)
        for child in (threads / thread / "children").read_text().split()
    ]


def working_in(folder: Path, program: str) -> list[int]:
    """Return the pids that run an executable called `program` with `folder` as current one."""
    return [
        found.pid
        for found in entries()
        if current_folder(found.pid) == str(folder)
        and os.path.basename(_link(found.pid, "exe")) == program
    ]


def current_folder(pid: int) -> str:
    """Return the folder a process is in, or nothing where that cannot be seen."""
    return _link(pid, "cwd")


def has_variable(pid: int, name: str, value: str) -> bool:
    """Tell whether a process was started with `name=value` in its environment."""
    try:
        block = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return os.fsencode(f"{name}={value}") in block.split(b"\0")


def boot_id() -> str:
    """Return what changes with every boot, and with it the meaning of `ProcessEntry.started`."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def send(pids: Iterable[int], signum: int) -> None:
    """Send a signal to each of the processes that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            continue


def kill_and_wait(pids: Iterable[int], seconds: float = 2.0) -> None:
    """Kill processes and return once they are gone, or after `seconds`."""
    waiting = list(pids)
    send(waiting, signal.SIGKILL)
    end = time.monotonic() + seconds
    while waiting and time.monotonic() < end:
        waiting = [pid for pid in waiting if (now := entry(pid)) is not None and now.alive]
        if waiting:
            time.sleep(POLL_SECONDS)


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(PROC / str(pid) / name).removesuffix(" (deleted)")
    except OSError:
        return ""
