"""Processor time and memory of the programs of a stack, as Linux counts them."""

import os
from collections.abc import Iterable, Mapping, Sequence

from embedded.supervision.procfs import PROC
from selftest.bed.launching import Launched

PROGRAMS = ("realtime", "web", "worker", "redis-data", "postgres", "clickhouse")
_TICKS = os.sysconf("SC_CLK_TCK")

Programs = Mapping[str, Sequence[int]]
"""The pids of programs, by their names."""


def everything(stack: Launched) -> dict[str, list[int]]:
    """The pids of all programs and servers of a stack, and of what supervises them."""
    return {name: stack.members(name) for name in stack.pids_now()} | {"supervisor": [stack.pid]}


def processor_seconds(stack: Launched) -> dict[str, float]:
    """Seconds of each program so far with all its processes, and of this one, the `client`."""
    found = {name: seconds_of(stack.members(name)) for name in PROGRAMS}
    return found | {"client": seconds_of([os.getpid()])}


def seconds_by_name(programs: Programs) -> dict[str, float]:
    """Seconds of each program so far."""
    return {name: seconds_of(pids) for name, pids in programs.items()}


def resident_kib(stack: Launched, name: str) -> int:
    """The memory of a program's processes, with shared pages counted once."""
    return proportional_kib(stack.members(name))


def seconds_of(pids: Iterable[int]) -> float:
    """Seconds of processes so far, including those of their ended children."""
    ticks = 0
    for pid in pids:
        try:
            text = (PROC / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            continue
        ticks += sum(map(int, text[text.rindex(")") + 2 :].split()[11:15]))
    return ticks / _TICKS


def proportional_kib(pids: Iterable[int]) -> int:
    """The memory of processes, each shared page divided among all that share it."""
    return sum(map(_proportional_kib, pids))


def _proportional_kib(pid: int) -> int:
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
