"""Injects faults in turn, and records when each began and ended."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from selftest.bed.stack import NotRecovered, Testbed
from selftest.faults.disturbance import Disturbance, Step


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that is over; times are seconds of the monotonic clock.

    `failure` names what did not come back, and is empty otherwise.
    """

    name: str
    target: str
    began: float
    ended: float
    failure: str = ""


class Episodes:
    """Injects faults and records them."""

    def __init__(self, bed: Testbed) -> None:
        self._bed = bed
        self.past: list[Episode] = []

    @contextmanager
    def during(self, disturbance: Disturbance) -> Iterator[None]:
        """Keep a fault on during the block, and return when it has ended."""
        began = time.monotonic()
        end = disturbance.begin(self._bed)
        failure = ""
        try:
            yield
        finally:
            try:
                end()
            except NotRecovered as error:
                failure = str(error)
            self.past.append(
                Episode(
                    name=disturbance.name,
                    target=disturbance.target,
                    began=began,
                    ended=time.monotonic(),
                    failure=failure,
                )
            )

    def perform(self, step: Step, until: float, stopping: threading.Event) -> None:
        """Inject the faults of one step, until `until` (monotonic) at most or `stopping` is set.

        Faults that began are always ended.
        """
        began = time.monotonic()
        with ExitStack() as on:
            # The longest fault is the outermost block, so it ends last.
            for disturbance, seconds in sorted(step.parts, key=lambda part: -part[1]):
                on.enter_context(self.during(disturbance))
                on.callback(_wait, began + seconds, until, stopping)
        _wait(time.monotonic() + step.calm_seconds, until, stopping)


def _wait(moment: float, until: float, stopping: threading.Event) -> None:
    stopping.wait(max(0.0, min(moment, until) - time.monotonic()))
