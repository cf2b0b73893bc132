"""Signals that ask a stack to stop, deferred so that none interrupts between the start of a process
and its record; and a pause that ends with any of them, or with a child."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from embedded.errors import StackInterrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PIPE_BYTES = 4096


class StopSignals:
    """Notes requests to stop. `are_checked` while the running code checks for them."""

    def __init__(self) -> None:
        self.stop_wanted = False
        self.are_checked = False
        self._handlers: dict[signal.Signals, Any] = {}
        self._pipe: tuple[int, ...] = ()

    def catch(self) -> None:
        """Handle the signals from now on, in the main thread."""
        for number in SIGNALS:
            before = signal.getsignal(number)
            # A signal that nohup ignores stays ignored.
            if number is not signal.SIGHUP or before is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._on_signal)
        # Ignored, the end of a child would wake nobody.
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._pipe = os.pipe()
        for descriptor in self._pipe:
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)

    def pause(self, seconds: float) -> None:
        """Sleep for so long, or until a signal comes or a child ends."""
        if select.select([self._pipe[0]], [], [], seconds)[0]:
            os.read(self._pipe[0], PIPE_BYTES)

    def restore(self) -> None:
        """Give the signals back to whoever handled them before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
        signal.set_wakeup_fd(-1)
        for descriptor in self._pipe:
            os.close(descriptor)
        self._pipe = ()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a signal only notes the request to stop, for which the block checks.

        An exception at any point could come between the start of a process and its record.
        """
        self.are_checked = True
        try:
            self.raise_if_stopped()
            yield
            self.raise_if_stopped()
        finally:
            self.are_checked = False

    def raise_if_stopped(self) -> None:
        """Raise `StackInterrupted` if a signal came."""
        if self.stop_wanted:
            raise StackInterrupted("stopped during start-up")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note the request to stop; unless the running code checks for it, raise at once."""
        self.stop_wanted = True
        if not self.are_checked:
            raise StackInterrupted(signal.Signals(number).name)
