"""The API killed at random, and every program restarted in order under load."""

import os
import random
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest

from selftest.disturbance import Disturbance, End
from selftest.stack import PROGRAMS, Testbed
from support.pending import age_seconds
from support.strikes import wait_until_whole
from support.trial import Trial
from support.waiting import eventually

Loaded = Callable[..., AbstractContextManager[Trial]]

CALM_SECONDS = 1.5
KILLS = 6
SERVER_ERROR = 500
UNAVAILABLE = 503

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
    """Its leader or one of those that answer, every second or so instead of every three."""
    drawn = random.Random(3)
    with load() as trial:
        for _ in range(KILLS):
            trial.breaks(sent("web", drawn.choice(answering(bed)), signal.SIGKILL))
            trial.calm(1)


def answering(bed: Testbed) -> list[int]:
    return bed.members("web")


def test_f11_every_program_is_restarted_in_order(bed: Testbed, load: Loaded) -> None:
    """SIGTERM to each process that answers, then to each program: the API's others go on."""
    with load() as trial:
        for pid in bed.members("web")[1:]:
            trial.breaks(sent("web", pid, signal.SIGTERM))
            trial.calm()
        for program in PROGRAMS:
            trial.breaks(sent(program, bed.pids()[program], signal.SIGTERM))
            trial.calm()
        trial.breaks(sent("worker", bed.pids()["worker"], signal.SIGQUIT))
        assert not [sample for sample in trial.samples if sample.status >= SERVER_ERROR]
        eventually(lambda: age_seconds(bed.services) < 1)
