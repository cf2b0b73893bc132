"""Figures in Redis for some seconds, and longer for when ClickHouse is down."""

import time
from contextlib import suppress
from typing import NamedTuple

import msgspec

from storage.errors import TierError
from storage.redis import keys
from storage.redis.driver import RedisGateway

KEPT_SECONDS = 600
MOST_KEPT = 100
"""Answers of a user: who asks for another range each second has no more of them kept."""


class Kept(NamedTuple):
    """An answer as JSON, and whether it is new enough to be given again."""

    body: bytes
    is_fresh: bool


class _Stored(msgspec.Struct):
    at: float
    body: msgspec.Raw


class FiguresCache:
    """A hash for each user. A Redis that does not answer has nothing."""

    def __init__(self, door: RedisGateway, seconds: float) -> None:
        self._door = door
        self._seconds = seconds

    def read(self, user_id: str, name: str) -> Kept | None:
        """The last answer, of whatever age up to `KEPT_SECONDS`."""
        try:
            found = self._door.ask(lambda client: client.hget(keys.analytics(user_id), name))
            stored = msgspec.json.decode(found, type=_Stored) if found else None
        except (TierError, msgspec.MsgspecError):
            # One of another version of this program is as good as none.
            return None
        if stored is None:
            return None
        is_fresh = 0 <= time.time() - stored.at < self._seconds
        return Kept(bytes(stored.body), is_fresh)

    def keep(self, user_id: str, name: str, body: bytes) -> None:
        """Keeps an answer; without Redis it is counted again next time."""
        key = keys.analytics(user_id)
        stored = msgspec.json.encode(_Stored(time.time(), msgspec.Raw(body)))
        with suppress(TierError), self._door.guarded() as client:
            pipeline = client.pipeline(transaction=False)
            if client.hlen(key) >= MOST_KEPT:
                pipeline.unlink(key)
            pipeline.hset(key, name, stored)
            pipeline.expire(key, KEPT_SECONDS)
            pipeline.execute()
