"""The messages to be sent until they are acknowledged, with their senders and times."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.sockets.history import SentMessage


class PendingMessage(NamedTuple):
    """A message that is not acknowledged yet. `sender` is a client, None for HTTP."""

    ref: str
    user_id: str
    sender: int | None
    sent_at: float


class SocketLedger:
    """Sent and acknowledged messages. Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.written: dict[str, SentMessage] = {}
        self.waiting: dict[str, PendingMessage] = {}
        self.again = 0
        self.http_latencies: list[float] = []

    def ask(self, ref: str, user_id: str, sender: int | None) -> None:
        """Notes that a message is about to be sent for the first time."""
        self.waiting[ref] = PendingMessage(ref, user_id, sender, time.perf_counter())

    def acknowledge(self, ref: str, message_id: str, at: float) -> None:
        """Notes an acknowledgement; only the first one counts."""
        asked = self.waiting.pop(ref, None)
        if asked is not None:
            self.written[message_id] = SentMessage(
                message_id, asked.user_id, asked.sender, asked.sent_at, at
            )

    def between(self, start: float, end: float) -> Iterator[SentMessage]:
        """The messages sent within an interval and acknowledged."""
        return (one for one in self.written.values() if start <= one.sent_at < end)
