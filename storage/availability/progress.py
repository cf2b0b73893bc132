"""Liveness is progress: did a worker poll the log lately, and does its oldest entry change?

A log that is long and moves is slow; one that is short and does not is stalled.
"""

import threading
import time

import msgspec

from storage.availability.probes import Breakers
from storage.errors import TierError
from storage.postgres.reads import PostgresTier
from storage.redis.pending_log import PendingLog

JUDGED_SECONDS = 1.0
"""How long a judgement holds, so that everybody may ask as often as they like."""


class Progress(msgspec.Struct, frozen=True):
    """Whether the log moves on, as far as that can be told, and its status in words."""

    is_ok: bool = msgspec.field(name="ok")
    detail: str


class ProgressWatch:
    """Judges the log. Redis's clock and this process's own are never compared."""

    def __init__(
        self, log: PendingLog, postgres: PostgresTier, breakers: Breakers, seconds: float
    ) -> None:
        self._log = log
        self._postgres = postgres
        self._breakers = breakers
        self._seconds = seconds
        self._lock = threading.Lock()
        self._head: tuple[int, bytes] | None = None
        self._head_since = self._unmarked_since = float("inf")
        self._judged = Progress(True, "")
        self._until = float("-inf")

    @property
    def saw_empty_log(self) -> bool:
        """Whether nothing was in the log, and workers polled it, when it was last judged."""
        return self._judged.is_ok and self._head is None

    def judge(self) -> Progress:
        """Whether the log moves on. Never raises; asks Redis, and PostgreSQL where something is
        in the log, at most once a second."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._judged = self._judge()
                self._until = time.monotonic() + JUDGED_SECONDS
            return self._judged

    def _judge(self) -> Progress:
        try:
            status = self._log.status()
        except TierError as error:
            self._reset()
            return Progress(True, f"not known while Redis is out: {error.reason}")
        if self._breakers.redis.was_open_within(self._seconds):
            self._reset()
            return Progress(True, "Redis was out until a moment ago")
        polled = self._seconds_since_poll(status.polled_seconds)
        if polled > self._seconds:
            return Progress(False, f"no worker has looked at the log for {polled:.0f} s")
        if status.oldest is None:
            self._head = None
            return Progress(True, "the log is empty")
        try:
            self._postgres.ping()
        except TierError as error:
            self._head = None
            return Progress(True, f"the log waits for PostgreSQL: {error.reason}")
        stalled = self._stalled_seconds(status.oldest)
        if min(stalled, status.oldest_seconds) > self._seconds:
            age = status.oldest_seconds
            return Progress(False, f"the oldest entry has been in the log for {age:.0f} s")
        return Progress(True, f"the oldest entry is {status.oldest_seconds:.1f} s old")

    def _seconds_since_poll(self, known: float | None) -> float:
        """A new Redis knows of no poll: that counts from when it was first seen so."""
        now = time.monotonic()
        if known is not None:
            self._unmarked_since = float("inf")
            return known
        self._unmarked_since = min(self._unmarked_since, now)
        return now - self._unmarked_since

    def _stalled_seconds(self, head: tuple[int, bytes]) -> float:
        """For how long this process has seen the same entry as the oldest."""
        now = time.monotonic()
        if head != self._head:
            self._head, self._head_since = head, now
        return now - self._head_since

    def _reset(self) -> None:
        self._head, self._unmarked_since = None, float("inf")
