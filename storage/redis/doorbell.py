"""The bell that scripts ring when a user's stream has news.

A ring is a hint and may be lost: whoever listens looks at all streams now and then as well.
"""

from types import TracebackType
from typing import Self

from redis.client import PubSub

from storage.redis.driver import RedisGateway, translated

CHANNEL = "threadkeep:events"
MOST_RINGS = 1_000
"""Rings that one wait takes in at most, so that whoever waits gets to its work."""


class Notifications:
    """A connection of its own that hears the bell; a context manager."""

    def __init__(self, door: RedisGateway) -> None:
        self._door = door
        self._rings: PubSub | None = None

    def __enter__(self) -> Self:
        """Begins to listen: what rings from now on is heard. Raises `TierUnavailable`."""
        with self._door.guarded() as client:
            rings = PubSub(client.connection_pool, ignore_subscribe_messages=True)
            rings.subscribe(CHANNEL)
            # The answer says that the server has it.
            rings.get_message(timeout=1.0)
            self._rings = rings
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rings is not None:
            self._rings.close()
            self._rings = None

    def wait(self, seconds: float) -> set[str]:
        """The users who have news, as soon as there are any, or after so many seconds none.

        Raises `TierUnavailable` where the connection was lost: then rings may have been missed.
        """
        if self._rings is None:
            raise RuntimeError("nobody listens to the bell yet")
        users: set[str] = set()
        with translated():
            message = self._rings.get_message(timeout=seconds)
            for _ in range(MOST_RINGS):
                if message is None:
                    break
                users.add(message["data"].decode())
                message = self._rings.get_message(timeout=0)
        return users
