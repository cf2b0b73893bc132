"""Moments in which the machine stalled, so that late answers prove nothing.

Two observers detect them: a thread that should wake every few milliseconds, and the waits for the
disk of the ledger. Neither calls the programs under test, so a program that hangs is no stall; one
that takes every processor is. A machine that is merely slow has no long stalls, but wakes threads
a little late each time, which adds up.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

STALL_SECONDS = 0.1
"""A short wait that took longer than this was a stall."""

WAKE_SECONDS = 0.02
LATE_SECONDS = 0.005
"""A thread that woke later than this had to wait for a processor."""


_Span = tuple[float, float]


class Stalls:
    """When the machine stalled, by the monotonic clock. Safe for threads."""

    def __init__(self) -> None:
        self._spans: list[_Span] = []
        self._late: list[_Span] = []

    @contextmanager
    def brief(self) -> Iterator[None]:
        """Time a block that is brief unless the machine stalls."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.note(began, time.monotonic())

    def note(self, began: float, ended: float) -> None:
        """Note a stall from `began` to `ended`, if that was long."""
        if ended - began > STALL_SECONDS:
            self._spans.append((began, ended))

    def note_late(self, due: float, woke: float) -> None:
        """Note the wait of a thread that was to wake at `due`."""
        if woke - due > LATE_SECONDS:
            self._late.append((due, woke))

    def watch(self, until: threading.Event) -> None:
        """Wake at short intervals, and note each late wake-up."""
        while not until.is_set():
            due = time.monotonic() + WAKE_SECONDS
            with self.brief():
                time.sleep(WAKE_SECONDS)
            self.note_late(due, time.monotonic())

    def seconds_within(self, began: float, ended: float) -> float:
        """Return the seconds of stalls between two moments."""
        return _covered(self._spans, began, ended)

    def slow_seconds_within(self, began: float, ended: float) -> float:
        """Likewise, including the short waits for a processor."""
        return _covered([*self._spans, *self._late], began, ended)


def _covered(spans: Iterable[_Span], began: float, ended: float) -> float:
    total, covered = 0.0, began
    for since, until in sorted(spans):
        since, until = max(since, covered), min(until, ended)
        if since < until:
            total += until - since
            covered = until
    return total
