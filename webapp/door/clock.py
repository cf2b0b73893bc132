"""A clock that does not count what the process slept through."""

import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.1
LONGEST_TICK_SECONDS = 0.3


class RunningClock:
    """Seconds of a process that runs: of one that was stopped, what came meanwhile waits unread,
    and its sender is not late."""

    def __init__(self, look: Callable[[], None]) -> None:
        """`look` is called at each tick."""
        self.now = 0.0
        self._look = look

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
                self._look()
            # Without its clock a process would keep whoever is slow.
            except Exception as error:
                log.error("unexpected", exc_info=error)
