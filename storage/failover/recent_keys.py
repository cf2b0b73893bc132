"""The Idempotency-Keys that this process acknowledged of late, whichever tier took them.

Until a message is drained Redis alone knows its key, and until it is brought home ClickHouse alone
does. Where such a tier goes out in that moment, a client that repeats what was acknowledged would
be given a second message by the next. So each process remembers what it acknowledged.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from storage.appends import Append, Stored
from storage.failover.direct_postgres import keyed
from storage.failover.rests import Answer
from storage.idempotency_keys import Key

MOST_KEYS = 20_000
"""More than are acknowledged between two drains; a few megabytes."""

KEPT_SECONDS = 120.0
"""Longer than a client that waits for an answer is patient, and repeats after it."""


class _Note(NamedTuple):
    message_id: str
    at: float
    number: int


class RecentKeys:
    """Key to message, the latest of them, each with a number that grows. Safe for threads."""

    def __init__(self, idempotency_seconds: int) -> None:
        self._idempotency_seconds = idempotency_seconds
        self._lock = threading.Lock()
        self._made: OrderedDict[Key, _Note] = OrderedDict()
        self._number = 0
        self._noted_at = float("-inf")

    @property
    def is_any(self) -> bool:
        """Whether a client may still repeat one of them."""
        return time.monotonic() - self._noted_at < KEPT_SECONDS

    def note(self, appends: Sequence[Append], answers: Sequence[Answer]) -> dict[Key, str]:
        """Remembers what these appends have made; gives it."""
        found: dict[Key, str] = {}
        for append, answer in zip(appends, answers, strict=True):
            if isinstance(answer, Stored):
                pairs = zip(append.messages, answer.ids, strict=True)
                made = {one.id: first for one, first in pairs}
                found.update((key, made[one.id]) for key, one in keyed(append))
        if found:
            with self._lock:
                self._note(found)
        return found

    def known(self, wanted: Iterable[Key]) -> dict[Key, str]:
        """What these keys made, as far as it is remembered."""
        since = time.monotonic() - self._idempotency_seconds
        with self._lock:
            notes = {key: self._made[key] for key in wanted if key in self._made}
        return {key: note.message_id for key, note in notes.items() if note.at > since}

    def after(self, number: int, seconds: float) -> tuple[dict[Key, str], int]:
        """What was noted beyond a number in the last `seconds`, the latest first, and the number
        that the latest has."""
        since = time.monotonic() - seconds
        found: dict[Key, str] = {}
        with self._lock:
            for key, note in reversed(self._made.items()):
                if note.number <= number or note.at <= since:
                    break
                found[key] = note.message_id
            return found, self._number

    def _note(self, made: dict[Key, str]) -> None:
        now = self._noted_at = time.monotonic()
        fresh = KEPT_SECONDS / 2
        for key, message_id in made.items():
            before = self._made.get(key)
            if before is not None and before.message_id == message_id and now < before.at + fresh:
                # A repeat, which is nothing new to whoever was told.
                continue
            self._number += 1
            self._made[key] = _Note(message_id, now, self._number)
            self._made.move_to_end(key)
        while len(self._made) > MOST_KEYS:
            self._made.popitem(last=False)
