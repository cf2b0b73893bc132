"""The Idempotency-Keys that Redis took from this process of late.

Until a message is drained Redis alone knows its key. Where Redis goes out in that moment, a client
that repeats what was acknowledged would be given a second message by the next tier.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from storage.failover.direct_postgres import Known, keyed
from storage.failover.rests import Answer, Ask, ask_the_rest
from storage.idempotency_keys import Key
from storage.redis_tier import Append, Stored

MOST_KEYS = 20_000
"""More than are acknowledged between two drains; a few megabytes."""


class RecentKeys:
    """Key to message, the latest of them. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[Key, str] = OrderedDict()

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
                made = {key: self._made[key] for key in wanted if key in self._made}
            return ask_the_rest(appends, Known({}, made), ask)

        return append

    def _note(self, append: Append, answer: Stored) -> None:
        made = {one.id: first for one, first in zip(append.messages, answer.ids, strict=True)}
        for key, one in keyed(append):
            self._made[key] = made[one.id]
            self._made.move_to_end(key)
        while len(self._made) > MOST_KEYS:
            self._made.popitem(last=False)
