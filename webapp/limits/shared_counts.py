"""Counts that several processes add to, for as long as any of them does."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from storage.redis import keys
from storage.redis.driver import RedisGateway

KEPT_SECONDS = 30


class SharedCounts:
    """The counts over one gateway. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, door: RedisGateway) -> None:
        self._door = door

    def add(self, names: Iterable[tuple[str, str]], added: Sequence[int]) -> list[int]:
        """Adds to each count, given as its kind and its caller; gives their totals.

        One round trip. No name of a caller is in a key, which nothing that is erased may stay in.
        """

        def ask(pipeline: Any, one: tuple[tuple[str, str], int]) -> None:
            (kind, caller), count = one
            name = keys.limit(kind, hashlib.sha256(caller.encode()).hexdigest())
            pipeline.incrby(name, count)
            pipeline.expire(name, KEPT_SECONDS)

        answers = self._door.each(ask, list(zip(names, added, strict=True)))
        return [int(total) for total in answers[::2]]
