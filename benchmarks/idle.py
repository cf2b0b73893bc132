"""A stack at rest: processor time and memory of every process, and how long starts take.

`python -m benchmarks.idle [--seconds 60]` starts a whole stack twice on one folder, the second time
as `make up` does on any day but the first, leaves it alone, and counts. `threadkeep token` and the
size of the installed packages that serving needs are measured beside it.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

import settings
from benchmarks import costs
from benchmarks.stack import environment
from selftest.bed.launching import Launched, StackFailed, launch_up

SETTLING_SECONDS = 10.0
TOKEN_RUNS = 5
LOCK = Path(settings.__file__).with_name("requirements.lock")
_PIN = re.compile(r"([A-Za-z0-9._-]+)==")


class IdleFigures(NamedTuple):
    """Of each program at rest: its share of one core in percent, and its memory in MB with each
    shared page divided among all that share it. Then seconds, and MB."""

    shares: Mapping[str, float]
    memory: Mapping[str, float]
    start_seconds: float
    token_seconds: float
    environment_mb: float

    @property
    def share(self) -> float:
        """The share of all programs."""
        return sum(self.shares.values())

    @property
    def memory_mb(self) -> float:
        """The memory of all programs."""
        return sum(self.memory.values())


def main() -> int:
    """Measures and prints; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    try:
        figures = measure_idle(parser.parse_args().seconds)
    except StackFailed as error:
        Console(stderr=True).print(str(error), markup=False)
        return 1
    Console(highlight=False).print(idle_table(figures))
    return 0


def measure_idle(seconds: float) -> IdleFigures:
    """Starts a stack, leaves it alone for so many seconds, and counts. Raises `StackFailed`."""
    with tempfile.TemporaryDirectory(prefix="threadkeep-benchmark-") as name:
        folder = Path(name)
        with _launched(folder):
            pass
        (folder / "env").unlink(missing_ok=True)
        started = time.monotonic()
        with _launched(folder) as stack:
            start_seconds = time.monotonic() - started
            time.sleep(SETTLING_SECONDS)
            before = costs.seconds_by_name(costs.everything(stack))
            time.sleep(seconds)
            programs = costs.everything(stack)
            after = costs.seconds_by_name(programs)
            return IdleFigures(
                {one: (after[one] - before.get(one, 0.0)) / seconds * 100 for one in after},
                {one: costs.proportional_kib(pids) / 1e3 for one, pids in programs.items()},
                start_seconds,
                _token_seconds(stack),
                environment_mb(),
            )


def idle_table(figures: IdleFigures) -> Table:
    """All programs, and all together."""
    table = Table(title="A stack at rest")
    for heading in ("", "% of a core", "MB, proportional"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in sorted(figures.shares, key=lambda one: -figures.memory[one]):
        table.add_row(name, f"{figures.shares[name]:.2f}", f"{figures.memory[name]:,.0f}")
    table.add_row("all", f"{figures.share:.2f}", f"{figures.memory_mb:,.0f}")
    table.add_row("warm start", "", f"{figures.start_seconds:.1f} s")
    table.add_row("threadkeep token", "", f"{figures.token_seconds:.2f} s")
    table.add_row("installed for serving", "", f"{figures.environment_mb:,.0f} MB")
    return table


def environment_mb() -> float:
    """The size on disk of the packages that the lock file of serving names."""
    names = _PIN.findall(LOCK.read_text())
    return sum(map(_installed_bytes, names)) / 1e6


def _installed_bytes(name: str) -> int:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return 0
    found = (Path(str(file.locate())) for file in files)
    return sum(file.stat().st_blocks * 512 for file in found if file.is_file())


def _launched(folder: Path) -> Launched:
    return launch_up(folder, environment(), data=folder / "data")


def _token_seconds(stack: Launched) -> float:
    """The median of some runs of `threadkeep token`."""
    command = [str(Path(sys.executable).with_name("threadkeep")), "token", "somebody"]
    taken = []
    for _ in range(TOKEN_RUNS):
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, env=os.environ | stack.env)
        taken.append(time.monotonic() - started)
    return median(taken)


if __name__ == "__main__":
    sys.exit(main())
