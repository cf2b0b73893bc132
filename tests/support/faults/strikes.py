"""Fault points that a test lets strike when it wants: armed in programs that run, one at a time.

A strike comes only where its file is missing, and makes it. So every pass of a point is armed from
the start, all files are there, and taking one away has the next pass of its point strike.
"""

import time
from pathlib import Path

from selftest.bed.stack import RECOVERY_SECONDS, NotRecovered, Testbed
from selftest.faults.disturbance import Disturbance, End
from support.waiting import eventually

POINTS = {
    "api.before_write": "web",
    "api.after_write": "web",
    "drain.after_read": "worker",
    "drain.after_commit": "worker",
}
"""The points that are armed, and the program that passes each."""

PASSES = (*range(1, 40), *range(40, 600, 10), *range(600, 6000, 50))
"""A process that was struck begins to count anew."""


class Strikes:
    """The files that hold the strikes back, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for point in POINTS:
            self._file(point).touch()

    def variables(self) -> dict[str, str]:
        """What the programs' environment needs."""
        strikes = [f"{point}:{n}:kill@{self._file(point)}" for point in POINTS for n in PASSES]
        return {"THREADKEEP_DRILLS": "1", "THREADKEEP_FAULTPOINTS": ",".join(strikes)}

    def at(self, point: str) -> Disturbance:
        """The next process that passes the point dies there; ended when its program is back."""

        def begin(bed: Testbed) -> End:
            before = bed.members(POINTS[point])
            self._file(point).unlink()
            return lambda: self._end(bed, point, before)

        program = POINTS[point]
        return Disturbance(f"{program} struck at {point}", program, "it dies", (0.0, 0.0), begin)

    def wait_until_struck(self, point: str) -> None:
        """Waits until a process has died there."""
        eventually(self._file(point).exists, RECOVERY_SECONDS)

    def _end(self, bed: Testbed, point: str, before: list[int]) -> None:
        self.wait_until_struck(point)
        wait_until_whole(bed, POINTS[point], before)

    def _file(self, point: str) -> Path:
        return self._folder / point


def wait_until_whole(bed: Testbed, program: str, before: list[int]) -> None:
    """Waits until a program of which a process died has as many as before, and answers.

    Raises `NotRecovered`.
    """
    deadline = time.monotonic() + RECOVERY_SECONDS
    while set(now := bed.members(program)) >= set(before) or len(now) < len(before):
        if time.monotonic() > deadline:
            raise NotRecovered(f"{program} did not come back whole")
        time.sleep(0.05)
    bed.wait_until_back(program)
