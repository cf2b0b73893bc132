"""Streams of events, one for each user who has listeners, or had some a while ago.

The scripts that write append to a stream in the same step, if there is one. A place in it is the id
of an entry: while that entry is there, no later one is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from redis.client import PubSub

from models.events import Event, event_of
from settings import Settings
from storage.redis import keys
from storage.redis.driver import RedisGateway, Script, translated
from storage.resilience.bites import batches

USERS_AT_ONCE = 200
EVENTS_AT_ONCE = 500
CHANNEL = "threadkeep:events"
MOST_NOTIFICATIONS = 1_000
"""That one wait takes in at most, so that whoever waits gets to its work."""


class Notifications:
    """Hears which users have news."""

    def __init__(self, channel: PubSub) -> None:
        self._channel = channel

    def wait(self, seconds: float) -> set[str]:
        """The users who have news, as soon as there are any, or after so many seconds none.

        Raises `TierUnavailable` where the connection was lost: then some may have been missed.
        """
        users: set[str] = set()
        with translated():
            message = self._channel.get_message(timeout=seconds)
            for _ in range(MOST_NOTIFICATIONS):
                if message is None:
                    break
                users.add(message["data"].decode())
                message = self._channel.get_message(timeout=0)
        return users


class EventStreams:
    """Reads streams of events. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, door: RedisGateway, settings: Settings) -> None:
        self._door = door
        self._seconds = settings.events_seconds
        self._open = Script(door, "open_events")

    def open(self, user_ids: Sequence[str]) -> dict[str, str]:
        """Makes the streams that users lack; gives the place of the newest entry of each."""
        places = self._open.every([([keys.events(one)], [self._seconds]) for one in user_ids])
        return {user_id: place.decode() for user_id, place in zip(user_ids, places, strict=True)}

    def keep(self, places: Mapping[str, str]) -> set[str]:
        """Keeps streams from expiring; gives the users whose place is no longer in theirs."""

        def ask(pipeline: Any, user_id: str) -> None:
            pipeline.expire(keys.events(user_id), self._seconds)
            pipeline.xrange(keys.events(user_id), places[user_id], places[user_id])

        gone = set()
        for batch in batches(places, USERS_AT_ONCE):
            found = zip(batch, self._door.each(ask, batch)[1::2], strict=True)
            gone |= {user_id for user_id, entries in found if not entries}
        return gone

    def after(self, user_id: str, place: str, count: int) -> list[Event] | None:
        """The next events behind a place, at most `count`; None where the place is gone."""
        name = keys.events(user_id)
        with self._door.guarded() as client:
            pipeline = client.pipeline()
            pipeline.xrange(name, place, place)
            pipeline.xrange(name, f"({place}", count=count)
            here, entries = pipeline.execute()
        return _events(user_id, entries) if here else None

    def news(self, places: Mapping[str, str]) -> dict[str, list[Event] | None]:
        """The events behind the places, at most `EVENTS_AT_ONCE` for each user who has any; None
        where the stream was made again since, so that the place is gone. Does not wait."""
        news: dict[str, list[Event] | None] = {}
        for batch in batches(places, USERS_AT_ONCE):
            names = {keys.events(user_id): user_id for user_id in batch}
            wanted: dict[Any, Any] = {name: places[user] for name, user in names.items()}
            with self._door.guarded() as client:
                answer: Any = client.xread(wanted, count=EVENTS_AT_ONCE)
            for name, entries in answer or ():
                user_id = names[name.decode()]
                # One that was lost and created again begins with the mark that `open_events` makes.
                is_new = bool(entries) and entries[0][1].get(b"type") == b"opened"
                news[user_id] = None if is_new else _events(user_id, entries)
        return news

    @contextmanager
    def doorbell(self) -> Iterator[Notifications]:
        """Listens on a connection of its own: what is told from now on is heard. Raises
        `TierUnavailable`."""
        pool = self._door.client.connection_pool
        with closing(PubSub(pool, ignore_subscribe_messages=True)) as channel:
            with self._door.guarded():
                channel.subscribe(CHANNEL)
                # The answer says that the server has it.
                channel.get_message(timeout=1.0)
            yield Notifications(channel)


def _events(user_id: str, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Event]:
    found = (event_of(user_id, place, fields) for place, fields in entries)
    return [event for event in found if event is not None]
