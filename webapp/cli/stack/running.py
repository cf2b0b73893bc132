"""What is known of the stack on a data folder, from its own records there."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from embedded.env_file import read_env_file
from embedded.stack import PID_FILE
from embedded.supervision import lock
from embedded.supervision.leftovers import PidFile

DATA = Path(".threadkeep")
NOTHING_RUNS = "no stack runs on {}; start one with `threadkeep up`"


class Program(NamedTuple):
    """A process of the stack that runs now, and for how many seconds it does."""

    name: str
    pid: int
    seconds: float


class Running(NamedTuple):
    """A stack whose supervisor lives. `missing` names what it ran once and does not run now."""

    pid: int
    addresses: dict[str, str]
    programs: list[Program]
    missing: list[str]


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that names the data folder."""
    option = click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        default=DATA,
        show_default=True,
        help="The folder that `threadkeep up` was given.",
    )
    return option(command)


def running(data: Path) -> Running | None:
    """The stack on a data folder; None where no supervisor works on it."""
    pid = lock.holder(data)
    if pid is None:
        return None
    run_folder = data / "run"
    try:
        env = read_env_file(run_folder / "env")
    except FileNotFoundError:
        # It is starting: the file is the sign that everything answered.
        env = {}
    known = env.pop("THREADKEEP_PIDS", "").split(",")
    records = PidFile(run_folder / PID_FILE, str(data.absolute())).living()
    programs = [Program(one.name, one.pid, _seconds_since(one.started)) for one in records]
    names = {program.name for program in programs}
    missing = [name for name, _, _ in (one.partition(":") for one in known) if name not in names]
    addresses = {name: env[name] for name in ("API_URL", "WS_URL", "FLOWER_URL") if env.get(name)}
    return Running(pid, addresses, programs, [name for name in missing if name])


def _seconds_since(ticks: int) -> float:
    """The seconds since a process began; procfs counts ticks of the clock since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
