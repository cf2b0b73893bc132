"""Figures in Redis for some seconds, and longer for when ClickHouse is out."""

import time
from typing import Any, NamedTuple

import msgspec

from storage.errors import TierError
from storage.redis import keys
from storage.redis.driver import RedisGateway

KEPT_SECONDS = 600
MOST_KEPT = 100
"""Answers of a user. Whoever asks for another range each second would have all of them kept, for
as long as they go on."""


class Kept(NamedTuple):
    """An answer as JSON, and how old it is."""

    body: bytes
    age_seconds: float


class _Stored(msgspec.Struct):
    at: float
    body: msgspec.Raw


class FiguresCache:
    """A hash for each user. A Redis that does not answer has nothing."""

    def __init__(self, door: RedisGateway, seconds: float) -> None:
        self._door = door
        self._seconds = seconds

    def fresh(self, user_id: str, name: str) -> bytes | None:
        """An answer that is not older than some seconds."""
        kept = self.kept(user_id, name)
        return kept.body if kept and 0 <= kept.age_seconds < self._seconds else None

    def kept(self, user_id: str, name: str) -> Kept | None:
        """The last answer, of whatever age."""
        try:
            with self._door.guarded() as client:
                found: Any = client.hget(keys.analytics(user_id), name)
        except TierError:
            return None
        if found is None:
            return None
        try:
            stored = msgspec.json.decode(found, type=_Stored)
        except msgspec.MsgspecError:
            # One of another version of this program.
            return None
        return Kept(bytes(stored.body), time.time() - stored.at)

    def keep(self, user_id: str, name: str, body: bytes) -> None:
        """Keeps an answer."""
        stored = msgspec.json.encode(_Stored(time.time(), msgspec.Raw(body)))
        try:
            with self._door.guarded() as client:
                pipeline = client.pipeline(transaction=False)
                if client.hlen(keys.analytics(user_id)) >= MOST_KEPT:
                    pipeline.unlink(keys.analytics(user_id))
                pipeline.hset(keys.analytics(user_id), name, stored)
                pipeline.expire(keys.analytics(user_id), KEPT_SECONDS)
                pipeline.execute()
        except TierError:
            # It is counted anew next time.
            return
