"""Runs a bounded number of calls at once, each in the thread that brings it."""

import threading
import time
from collections import deque
from collections.abc import Callable

STUCK_SECONDS = 20.0


class TurnQueue:
    """While all turns are taken, a call waits without a thread until one ends."""

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self._taken = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._last_end = time.monotonic()

    @property
    def is_full(self) -> bool:
        """Whether a call would have to wait."""
        return self._taken >= self._turns

    @property
    def is_stuck(self) -> bool:
        """Whether all turns are taken and none has ended for longer than any call may take."""
        return self.is_full and time.monotonic() - self._last_end > STUCK_SECONDS

    def run(self, call: Callable[[], None]) -> None:
        """Makes the call, and then those that wait; or queues it for the thread that ends next.

        A call must not raise.
        """
        with self._lock:
            if self._taken >= self._turns:
                self._waiting.append(call)
                return
            self._taken += 1
        while True:
            call()
            with self._lock:
                self._last_end = time.monotonic()
                if not self._waiting:
                    self._taken -= 1
                    return
                call = self._waiting.popleft()
