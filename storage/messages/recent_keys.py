"""The Idempotency-Keys that this process acknowledged of late, whichever tier took them.

Until a message is drained, or replayed, one tier alone knows its key: a client that repeats it
while that tier is down would be given a second message by the next.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models.appends import Append, Key, Made, NewMessage, Stored
from storage.messages.append_plan import Answer, keyed

MOST_KEYS = 20_000
"""More than are acknowledged between two drains; a few megabytes."""

KEPT_SECONDS = 120.0
"""Longer than a client that waits for an answer is patient, and repeats after it."""


class _Note(NamedTuple):
    made: Made
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

    def note(self, appends: Sequence[Append], answers: Sequence[Answer]) -> dict[Key, Made]:
        """Remembers what these appends have made; gives it."""
        found: dict[Key, Made] = {}
        for append, answer in zip(appends, answers, strict=True):
            if isinstance(answer, Stored):
                pairs = zip(append.messages, answer.ids, strict=True)
                made = {one.id: first for one, first in pairs}
                found.update((key, _made(one, made[one.id])) for key, one in keyed(append))
        if found:
            with self._lock:
                self._note(found)
        return found

    def hash_of(self, key: Key, message_id: str) -> str:
        """The hash of the message that a key made, empty where this process does not know it."""
        with self._lock:
            note = self._made.get(key)
        return note.made.content_hash if note and note.made.message_id == message_id else ""

    def known(self, wanted: Mapping[Key, str]) -> dict[Key, str]:
        """What these keys made, as far as it is remembered, each above the id that it comes with,
        which is of what is gone."""
        since = time.monotonic() - self._idempotency_seconds
        with self._lock:
            notes = {key: self._made[key] for key in wanted if key in self._made}
        return {
            key: note.made.message_id
            for key, note in notes.items()
            if note.at > since and note.made.message_id > wanted[key]
        }

    def after(self, number: int, seconds: float) -> tuple[dict[Key, Made], int]:
        """What was noted beyond a number in the last `seconds`, the latest first, and the number
        that the latest has."""
        since = time.monotonic() - seconds
        found: dict[Key, Made] = {}
        with self._lock:
            for key, note in reversed(self._made.items()):
                if note.number <= number or note.at <= since:
                    break
                found[key] = note.made
            return found, self._number

    def _note(self, found: dict[Key, Made]) -> None:
        now = self._noted_at = time.monotonic()
        fresh = KEPT_SECONDS / 2
        for key, made in found.items():
            before = self._made.get(key)
            if before is not None and before.made.message_id >= made.message_id:
                if now < before.at + fresh:
                    # A repeat, which is nothing new to whoever was told.
                    continue
                made = before.made
            self._number += 1
            self._made[key] = _Note(made, now, self._number)
            self._made.move_to_end(key)
        while len(self._made) > MOST_KEYS:
            self._made.popitem(last=False)


def _made(one: NewMessage, first: str) -> Made:
    """What a key made, given the message that it came with now and the id that it stands for."""
    return Made(first, one.content_hash if first == one.id else "", one.instead_of)
