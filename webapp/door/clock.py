"""A clock that does not count time for which the process was stopped."""

import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.1
LONGEST_TICK_SECONDS = 0.3


class RunningClock:
    """Seconds for which the process has run. What arrives while it is stopped (SIGSTOP, a frozen
    machine) waits unread, and its sender is not late."""

    def __init__(self, on_tick: Callable[[], None]) -> None:
        """`on_tick` is called every 0.1 s."""
        self.now = 0.0
        self._on_tick = on_tick

    def begin(self) -> None:
        """Starts to tick."""
        threading.Thread(target=self._tick, name="door-clock", daemon=True).start()

    def _tick(self) -> None:
        before = time.monotonic()
        while True:
            time.sleep(TICK_SECONDS)
            after = time.monotonic()
            self.now += min(after - before, LONGEST_TICK_SECONDS)
            before = after
            try:
                self._on_tick()
            # Without its clock a process would keep slow clients for ever.
            except Exception as error:
                log.error("unexpected", exc_info=error)
