"""Runs a bounded number of calls at once, in threads of its own; no caller takes all of them."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from queue import SimpleQueue

STUCK_SECONDS = 20.0

SHARES = 4
"""One caller may have one part in so many of the turns."""

Call = Callable[[], None]


class TurnQueue:
    """While all turns are taken, a call waits without a thread until one ends. Threads start when
    they are needed.

    One caller has at most a quarter of the turns: slow calls keep the others from turns, and busy
    ones from the interpreter. Callers who wait take turns one after the other, however many calls
    each of them has.
    """

    def __init__(self, name: str, turns: int, most_of_one: int = 0) -> None:
        """`most_of_one`: calls of one caller that wait or run. With 0 callers are all alike."""
        self._name = name
        self._turns = turns
        self._share = max(1, turns // SHARES) if most_of_one else turns
        self._most_of_one = most_of_one
        self._calls: SimpleQueue[tuple[str, Call]] = SimpleQueue()
        self._waiting: dict[str, deque[Call]] = {}
        self._running: Counter[str] = Counter()
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

    def run(self, call: Call, caller: str = "") -> bool:
        """Has the call made as soon as there is a turn, and returns at once; it must not raise.

        False if its caller has too many calls here already. Calls without a caller are not limited.
        """
        with self._lock:
            if not self._has_room(caller):
                return False
            self._begun += 1
            if self._may_run(caller):
                self._start(call, caller)
            else:
                self._waiting.setdefault(caller, deque()).append(call)
        return True

    def _has_room(self, caller: str) -> bool:
        if not caller or not self._most_of_one:
            return True
        waiting = self._waiting.get(caller, ())
        return self._running[caller] + len(waiting) < self._most_of_one

    def _may_run(self, caller: str) -> bool:
        if self._running.total() >= self._turns:
            return False
        return not caller or self._running[caller] < self._share

    def _start(self, call: Call, caller: str) -> None:
        self._running[caller] += 1
        self._calls.put((caller, call))
        if self._threads < self._running.total():
            self._threads += 1
            name = f"{self._name}-{self._threads}"
            threading.Thread(target=self._take_turns, name=name, daemon=True).start()

    def _take_turns(self) -> None:
        while True:
            self._take_turn()

    def _take_turn(self) -> None:
        caller, call = self._calls.get()
        call()
        del call
        with self._lock:
            self._begun -= 1
            self._last_end = time.monotonic()
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]
            self._start_next()

    def _start_next(self) -> None:
        """Gives the free turn to the caller who has waited longest since the last one, if any."""
        for caller, calls in self._waiting.items():
            if self._may_run(caller):
                del self._waiting[caller]
                call = calls.popleft()
                if calls:
                    self._waiting[caller] = calls
                self._start(call, caller)
                return
