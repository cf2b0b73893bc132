"""Who wrote what: every message that is to be sent until it is acknowledged, and when."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.sockets.history import SentMessage


class PendingMessage(NamedTuple):
    """A message that nobody has acknowledged yet. `sender` is a client, none for HTTP."""

    ref: str
    user_id: str
    sender: int | None
    sent_at: float


class SocketLedger:
    """What was asked and what was acknowledged. Times are of the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.written: dict[str, SentMessage] = {}
        self.waiting: dict[str, PendingMessage] = {}
        self.again = 0
        self.http_latencies: list[float] = []

    def ask(self, ref: str, user_id: str, sender: int | None) -> None:
        """Notes that a message is about to be sent for the first time."""
        self.waiting[ref] = PendingMessage(ref, user_id, sender, time.perf_counter())

    def acknowledge(self, ref: str, message_id: str, at: float) -> None:
        """Notes an acknowledgement; of several the first counts."""
        asked = self.waiting.pop(ref, None)
        if asked is not None:
            self.written[message_id] = SentMessage(
                message_id, asked.user_id, asked.sender, asked.sent_at, at
            )

    def between(self, start: float, end: float) -> Iterator[SentMessage]:
        """What was sent within a time and acknowledged."""
        return (one for one in self.written.values() if start <= one.sent_at < end)
