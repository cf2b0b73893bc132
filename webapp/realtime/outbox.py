"""The send queue of one socket: bounded, whole and in order.

A greenlet writes, and lives only while something waits, so an idle socket has none. A socket whose
buffer is full takes only part of a frame; nothing may be written before its rest, which is why
every write goes through here.
"""

import time
from collections import deque
from collections.abc import Callable
from socket import SHUT_WR
from typing import Any, NamedTuple

import gevent
from gevent.event import Event

WRITE_BYTES = 64 * 1024
"""Small frames that wait together leave in one write."""


class _Waiting(NamedTuple):
    data: bytes
    event_id: str


class Outbox:
    """The writing side of a socket. `last_id` is the newest event id that was written to it, and
    `moved_at` when it last took bytes, by the monotonic clock."""

    def __init__(
        self, sock: Any, most_frames: int, most_bytes: int, on_broken: Callable[[], None]
    ) -> None:
        self._socket = sock
        self._most_frames = most_frames
        self._most_bytes = most_bytes
        self._on_broken = on_broken
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._writer: Any = None
        self._progressed: Event | None = None
        self.moved_at = 0.0
        self._ends = self._hangs_up = False
        self.last_id = ""

    @property
    def is_crowded(self) -> bool:
        """Whether more than half of the queue is taken, so that what can wait should."""
        return self._holds_over(2)

    def put(self, data: bytes, event_id: str = "") -> bool:
        """Queues data to be written; False, and nothing is queued, where the queue is full."""
        full = len(self._waiting) >= self._most_frames or (
            self._waiting and self._bytes + len(data) > self._most_bytes
        )
        if full:
            return False
        self._add(data, event_id)
        return True

    def end_with(self, data: bytes, *, instead: bool = False, hangs_up: bool = False) -> None:
        """Queues the last data, after what waits or `instead` of it; later data is dropped.

        With `hangs_up` the writing side is shut down as soon as this is written.
        """
        if instead:
            self._waiting.clear()
            self._bytes = 0
        self._add(data, "")
        self._ends = True
        self._hangs_up = hangs_up

    def wait_for_room(self) -> None:
        """Waits until less than an eighth of the queue is taken, or nothing is written any more."""
        while not self._ends and self._holds_over(8):
            self._progressed = self._progressed or Event()
            self._progressed.clear()
            self._progressed.wait()

    def flush(self, seconds: float) -> None:
        """Waits until everything is written, at most this long."""
        if self._writer is not None:
            self._writer.join(timeout=seconds)

    def discard(self) -> None:
        """Drops what waits; nothing is written or queued any more."""
        self._ends = True
        self._waiting.clear()
        self._bytes = 0
        self._signal_progress()

    def stalled_for(self, now: float) -> float:
        """Seconds since the other side last took bytes; 0 while nothing waits."""
        return now - self.moved_at if self._writer is not None else 0.0

    def _holds_over(self, part: int) -> bool:
        """Whether more than one part in `part` of the queue is taken."""
        too_many = len(self._waiting) > self._most_frames // part
        return too_many or self._bytes > self._most_bytes // part

    def _add(self, data: bytes, event_id: str) -> None:
        if self._ends:
            return
        self._waiting.append(_Waiting(data, event_id))
        self._bytes += len(data)
        if self._writer is None:
            self.moved_at = time.monotonic()
            self._writer = gevent.spawn(self._write)

    def _write(self) -> None:
        try:
            while self._waiting:
                rest = memoryview(self._take())
                while rest:
                    sent = self._socket.send(rest)
                    rest = rest[sent:]
                    self.moved_at = time.monotonic()
                self._signal_progress()
            if self._hangs_up:
                self._socket.shutdown(SHUT_WR)
        except OSError:
            self.discard()
            self._on_broken()
        finally:
            self._writer = None

    def _take(self) -> bytes:
        taken: list[bytes] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0].data) <= WRITE_BYTES):
            waiting = self._waiting.popleft()
            taken.append(waiting.data)
            size += len(waiting.data)
            self.last_id = waiting.event_id or self.last_id
        self._bytes -= size
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _signal_progress(self) -> None:
        if self._progressed is not None:
            self._progressed.set()
