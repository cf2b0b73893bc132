"""Runs a bounded number of calls at once, in threads of its own."""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

STUCK_SECONDS = 20.0


class TurnQueue:
    """While all turns are taken, a call waits without a thread until one ends. Threads start when
    they are needed."""

    def __init__(self, name: str, turns: int) -> None:
        self._name = name
        self._turns = turns
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = 0
        self._begun = 0
        """Calls that wait or run."""
        self._lock = threading.Lock()
        self._last_end = time.monotonic()

    @property
    def is_full(self) -> bool:
        """Whether a call would have to wait."""
        return self._begun >= self._turns

    @property
    def is_stuck(self) -> bool:
        """Whether all turns are taken and none has ended for longer than any call may take."""
        return self.is_full and time.monotonic() - self._last_end > STUCK_SECONDS

    def run(self, call: Callable[[], None]) -> None:
        """Has the call made as soon as there is a turn, and returns at once. It must not raise."""
        with self._lock:
            self._begun += 1
            needs_thread = self._threads < min(self._begun, self._turns)
            self._threads += needs_thread
        self._calls.put(call)
        if needs_thread:
            name = f"{self._name}-{self._threads}"
            threading.Thread(target=self._take_turns, name=name, daemon=True).start()

    def _take_turns(self) -> None:
        while True:
            self._take_turn()

    def _take_turn(self) -> None:
        call = self._calls.get()
        call()
        with self._lock:
            self._begun -= 1
            self._last_end = time.monotonic()
