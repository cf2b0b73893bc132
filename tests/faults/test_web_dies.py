"""The API killed at random, and every program restarted in order under load."""

import os
import random
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from selftest.bed.stack import Testbed
from selftest.faults.disturbance import Disturbance, End
from support.data.pending import age_seconds
from support.faults.strikes import wait_until_whole
from support.faults.trial import Trial
from support.waiting import eventually

Loaded = Callable[..., AbstractContextManager[Trial]]

KILLS = 6
SERVER_ERROR = 500
START_SECONDS = 20.0
TCP_LISTEN = "0A"

pytestmark = pytest.mark.extensive


def sent(program: str, pid: int, number: signal.Signals) -> Disturbance:
    """A signal to one process; ended when its program has as many as before."""

    def begin(bed: Testbed) -> End:
        before = bed.members(program)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return lambda: wait_until_whole(bed, program, before)

    name = f"{program} {number.name}"
    return Disturbance(name, program, f"{number.name} to one of its processes", (0.0, 0.0), begin)


def test_f03_processes_of_the_api_are_killed_at_random(bed: Testbed, load: Loaded) -> None:
    """Its leader or one of those that answer, every second or so."""
    drawn = random.Random(3)
    with load() as trial:
        for _ in range(KILLS):
            trial.breaks(sent("web", drawn.choice(bed.members("web")), signal.SIGKILL))
            trial.calm(1)


def test_f11_every_program_is_restarted_in_order(bed: Testbed, load: Loaded) -> None:
    """SIGTERM to each process that answers once the others do, then to the programs, to the API's
    leader also while those that answer are still starting; SIGQUIT to the worker."""
    with load() as trial:
        for pid in bed.members("web")[1:]:
            eventually(lambda: all(map(listens, bed.members("web")[1:])), START_SECONDS)
            trial.breaks(sent("web", pid, signal.SIGTERM))
        for program in ("web", "web", "worker", "beat"):
            trial.breaks(sent(program, bed.pids()[program], signal.SIGTERM))
            trial.wait_for_more(20)
        trial.breaks(sent("worker", bed.pids()["worker"], signal.SIGQUIT))
        assert not [sample for sample in trial.samples if sample.status >= SERVER_ERROR]
        eventually(lambda: age_seconds(bed.services) < 1, START_SECONDS)


def listens(pid: int) -> bool:
    """Whether a process accepts connections."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    inodes = {line.split()[9] for line in lines if line.split()[3] == TCP_LISTEN}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    with suppress(FileNotFoundError):
        return any(os.readlink(each) in sockets for each in Path(f"/proc/{pid}/fd").iterdir())
    # One of them was closed in between: look again.
    return False
