"""Moments in which the machine kept everybody waiting, so that what was late then proves nothing.

Two witnesses tell of them: a thread that wants to wake every few milliseconds, and whoever waits
for the disk of the ledger. Neither asks the programs under test for anything, so one of those that
hangs is no stall; one that takes every processor would be. A machine that is merely slow has no
long stalls and wakes everybody a little late each time, which adds up.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

STALL_SECONDS = 0.1
"""A wait that should have been far shorter than this was one."""

WAKE_SECONDS = 0.02
LATE_SECONDS = 0.005
"""A thread that wakes later than this had to wait for a processor."""


_Span = tuple[float, float]


class Stalls:
    """When the machine stalled, by the monotonic clock. Safe for threads."""

    def __init__(self) -> None:
        self._spans: list[_Span] = []
        self._late: list[_Span] = []

    @contextmanager
    def brief(self) -> Iterator[None]:
        """Take the time of what is brief unless the machine stalls."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.note(began, time.monotonic())

    def note(self, began: float, ended: float) -> None:
        """Note something brief that took from `began` to `ended`, if that was long."""
        if ended - began > STALL_SECONDS:
            self._spans.append((began, ended))

    def note_late(self, due: float, woke: float) -> None:
        """Note when a thread woke that was to wake at `due`."""
        if woke - due > LATE_SECONDS:
            self._late.append((due, woke))

    def watch(self, until: threading.Event) -> None:
        """Wake again and again, and note when that came late."""
        while not until.is_set():
            due = time.monotonic() + WAKE_SECONDS
            with self.brief():
                time.sleep(WAKE_SECONDS)
            self.note_late(due, time.monotonic())

    def seconds_within(self, began: float, ended: float) -> float:
        """Return for how long the machine stalled between two moments."""
        return _covered(self._spans, began, ended)

    def slow_seconds_within(self, began: float, ended: float) -> float:
        """Likewise, with all the short waits for a processor."""
        return _covered([*self._spans, *self._late], began, ended)


def _covered(spans: Iterable[_Span], began: float, ended: float) -> float:
    total, covered = 0.0, began
    for since, until in sorted(spans):
        since, until = max(since, covered), min(until, ended)
        if since < until:
            total += until - since
            covered = until
    return total
