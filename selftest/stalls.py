"""Moments in which the machine kept everybody waiting, so that what was late then proves nothing.

Two witnesses tell of them: a thread that wants to wake every few milliseconds, and whoever waits
for the disk of the ledger. Neither asks the programs under test for anything, so one of those that
hangs is no stall; one that takes every processor would be.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STALL_SECONDS = 0.1
"""A wait that should have been far shorter than this was one."""

WAKE_SECONDS = 0.02


class Stalls:
    """When the machine stalled, by the monotonic clock. Safe for threads."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

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

    def watch(self, until: threading.Event) -> None:
        """Wake again and again, and note when that came late."""
        while not until.is_set():
            with self.brief():
                time.sleep(WAKE_SECONDS)

    def seconds_within(self, began: float, ended: float) -> float:
        """Return for how long the machine stalled between two moments."""
        total, covered = 0.0, began
        for since, until in sorted(self._spans):
            since, until = max(since, covered), min(until, ended)
            if since < until:
                total += until - since
                covered = until
        return total
