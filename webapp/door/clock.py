"""A clock that does not count what the process slept through."""

import time
from collections.abc import Callable

from storage.resilience.periodic import PeriodicThread

TICK_SECONDS = 0.1
LONGEST_TICK_SECONDS = 0.3


class RunningClock:
    """Seconds of a process that runs: of one that was stopped, what came meanwhile waits unread,
    and its sender is not late."""

    def __init__(self, look: Callable[[], None]) -> None:
        """`look` is called at each tick."""
        self.now = 0.0
        self._look = look
        self._ticked_at = 0.0
        # Without its clock a process would keep whoever is slow.
        self._thread = PeriodicThread(
            "door-clock", self._tick, lambda: TICK_SECONDS, "unexpected", waits_first=True
        )

    def begin(self) -> None:
        """Starts to tick."""
        self._ticked_at = time.monotonic()
        self._thread.begin()

    def _tick(self) -> None:
        before, self._ticked_at = self._ticked_at, time.monotonic()
        self.now += min(self._ticked_at - before, LONGEST_TICK_SECONDS)
        self._look()
