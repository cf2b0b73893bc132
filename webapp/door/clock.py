"""A clock that does not count time for which the process was stopped."""

import time
from collections.abc import Callable

from storage.resilience.periodic import PeriodicThread

TICK_SECONDS = 0.1
LONGEST_TICK_SECONDS = 0.3


class RunningClock:
    """Seconds for which the process has run. What arrives while it is stopped (SIGSTOP, a frozen
    machine) waits unread, and its sender is not late."""

    def __init__(self, on_tick: Callable[[], None]) -> None:
        """`on_tick` is called every 0.1 s."""
        self.now = 0.0
        self._on_tick = on_tick
        self._before = time.monotonic()
        # Without its clock a process would keep slow clients for ever.
        self._thread = PeriodicThread(
            "door-clock", self._tick, lambda: TICK_SECONDS, "unexpected", waits_first=True
        )

    def begin(self) -> None:
        """Starts to tick."""
        self._before = time.monotonic()
        self._thread.begin()

    def _tick(self) -> None:
        after = time.monotonic()
        self.now += min(after - self._before, LONGEST_TICK_SECONDS)
        self._before = after
        self._on_tick()
