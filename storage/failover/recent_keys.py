"""The Idempotency-Keys that Redis took from this process of late.

Until a message is drained Redis alone knows its key. Where Redis goes out in that moment, a client
that repeats what was acknowledged would be given a second message by the next tier. So a process
remembers them for itself, and tells PostgreSQL as soon as it sees Redis out, or sees that somebody
is about to write beside Redis: who is waits longer than that takes (see `detour`).
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from sqlalchemy import Engine

from storage import idempotency_keys
from storage.errors import TierError
from storage.failover.direct_postgres import Known, keyed
from storage.failover.rests import Answer, Ask, ask_the_rest
from storage.idempotency_keys import Key
from storage.postgres_driver import translated
from storage.redis_tier import Append, Stored

MOST_KEYS = 20_000
"""More than are acknowledged between two drains; a few megabytes."""

SHARED_SECONDS = 30.0
"""What is older was drained, or a worker is not at work, which has other alarms."""

BATCH = 200
"""Few, so that the latest, of which nobody else knows, are there as soon as can be."""


class RecentKeys:
    """Key to message, the latest of them. Safe for threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._made: OrderedDict[Key, tuple[str, float]] = OrderedDict()

    def share_soon(self) -> None:
        """Does so in a thread, which fails silently: there will be another chance."""
        threading.Thread(target=self._share_quietly, name="share-keys", daemon=True).start()

    def _share_quietly(self) -> None:
        with suppress(TierError):
            self.share()

    def share(self) -> None:
        """Tells PostgreSQL the keys of late, the latest first. Raises `TierUnavailable`."""
        since = time.monotonic() - SHARED_SECONDS
        with self._lock:
            latest = [(key, made) for key, (made, at) in self._made.items() if at > since]
        latest.reverse()
        keys = iter(latest)
        while batch := dict(islice(keys, BATCH)):
            with translated(), self._engine.begin() as connection:
                idempotency_keys.tell(connection, batch)

    def noting(self, ask: Ask) -> Ask:
        """Redis's way to take new messages, which are remembered."""

        def append(appends: Sequence[Append]) -> list[Answer]:
            answers = list(ask(appends))
            with self._lock:
                for one, answer in zip(appends, answers, strict=True):
                    if isinstance(answer, Stored):
                        self._note(one, answer)
            return answers

        return append

    def recalling(self, ask: Ask) -> Ask:
        """Another tier's way, asked only for what Redis has not taken before."""

        def append(appends: Sequence[Append]) -> list[Answer]:
            wanted = [key for one in appends for key, _ in keyed(one)]
            with self._lock:
                made = {key: self._made[key][0] for key in wanted if key in self._made}
            return ask_the_rest(appends, Known({}, made), ask)

        return append

    def _note(self, append: Append, answer: Stored) -> None:
        made = {one.id: first for one, first in zip(append.messages, answer.ids, strict=True)}
        now = time.monotonic()
        for key, one in keyed(append):
            self._made[key] = made[one.id], now
            self._made.move_to_end(key)
        while len(self._made) > MOST_KEYS:
            self._made.popitem(last=False)
