"""Signals that ask a stack to stop, caught so that none strikes between the start of a process and
its record."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from embedded.errors import StackInterrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Notes that somebody asked to stop. `are_looked_at` while the code that runs sees to it."""

    def __init__(self) -> None:
        self.stop_wanted = False
        self.are_looked_at = False
        self._handlers: dict[signal.Signals, Any] = {}

    def catch(self) -> None:
        """Handle the signals from now on, in the main thread."""
        for number in SIGNALS:
            before = signal.getsignal(number)
            # What nohup was asked for stays in force.
            if number is not signal.SIGHUP or before is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._on_signal)

    def restore(self) -> None:
        """Give the signals back to whoever handled them before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """While inside, a signal only notes the wish to stop, which the code inside looks at.

        An exception out of the blue could strike between the start of a process and its record.
        """
        self.are_looked_at = True
        try:
            self.raise_if_stopped()
            yield
            self.raise_if_stopped()
        finally:
            self.are_looked_at = False

    def raise_if_stopped(self) -> None:
        """Raise `StackInterrupted` if a signal came."""
        if self.stop_wanted:
            raise StackInterrupted("stopped during start-up")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note the wish to stop, and end at once whatever the caller does between our calls."""
        self.stop_wanted = True
        if not self.are_looked_at:
            raise StackInterrupted(signal.Signals(number).name)
