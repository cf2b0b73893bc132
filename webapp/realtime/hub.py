"""Reads the streams of everyone who listens in this process, and tells each what came.

One greenlet waits at the doorbell and reads, for whoever rang, and for all now and then, since a
ring may be lost. Another has the streams stay, and finds out whose place is gone. Between what was
read and who is told nothing waits for anything, so each listener hears each event once, in order.
"""

import time
from collections.abc import Collection
from itertools import count

import gevent
import structlog

from models.events import Event
from storage.errors import TierError
from storage.messages.storage_service import Acknowledgement
from storage.redis.event_streams import EVENTS_AT_ONCE, EventStreams
from webapp.realtime.frames import beside, of_event
from webapp.realtime.listener import Channel, Listener
from webapp.realtime.protocol import NOWHERE

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
KEEP_SECONDS = 5.0
RETRY_SECONDS = 0.5
USERS_AT_ONCE = 200
TURN_BYTES = 128 * 1024


class Hub:
    """The one reader of a process."""

    def __init__(self, streams: EventStreams) -> None:
        self._streams = streams
        self._channels: dict[str, Channel] = {}
        self._numbers = count(1)
        self._is_out = False

    def begin(self) -> None:
        """Starts both greenlets."""
        gevent.spawn(self._read_on)
        gevent.spawn(self._keep_on)

    def join(self, user_id: str, listener: Listener) -> None:
        """Has a listener wait at the newest place of its user's stream."""
        try:
            place = self._streams.open([user_id])[user_id]
        except TierError:
            # What the client can do without Redis it can do; it is reset when Redis is back.
            place = NOWHERE
        channel = self._channels.get(user_id)
        if channel is None:
            channel = self._channels[user_id] = Channel(user_id, place)
        listener.join(channel, place)

    def leave(self, user_id: str, listener: Listener) -> None:
        """Tells a listener nothing more."""
        listener.is_over = True
        channel = self._channels.get(user_id)
        if channel is not None:
            channel.listeners.discard(listener)
            if not channel.listeners:
                del self._channels[user_id]

    def tell_beside(self, done: Acknowledgement, sender: Listener) -> None:
        """Tells of a message that was written beside Redis, which cannot: here, at least."""
        channel = self._channels.get(done.message.user_id)
        if channel is None:
            return
        for told in beside(lambda: f"{channel.place}~{next(self._numbers)}", done):
            for listener in list(channel.listeners):
                if listener is not sender or told.kind != "message_received":
                    listener.hear_beside(told)

    def _read_on(self) -> None:
        while True:
            try:
                self._check()
                with self._streams.doorbell() as bell:
                    if self._is_out:
                        log.info("events_again")
                        self._is_out = False
                    swept_at = 0.0
                    while True:
                        due: Collection[str] = bell.wait(SWEEP_SECONDS)
                        if time.monotonic() - swept_at >= SWEEP_SECONDS:
                            swept_at = time.monotonic()
                            due = self._channels.keys()
                        self._carry(due)
            except TierError as error:
                self._note_outage(error)
                gevent.sleep(RETRY_SECONDS)

    def _keep_on(self) -> None:
        while True:
            gevent.sleep(KEEP_SECONDS)
            try:
                self._check()
            except TierError as error:
                self._note_outage(error)

    def _note_outage(self, error: TierError) -> None:
        if not self._is_out:
            log.warning("events_out", tier=error.tier, reason=error.reason)
        self._is_out = True

    def _carry(self, users: Collection[str]) -> None:
        """Reads what came for these users, and tells it."""
        named = [user_id for user_id in users if user_id in self._channels]
        for at in range(0, len(named), USERS_AT_ONCE):
            waiting = named[at : at + USERS_AT_ONCE]
            while waiting:
                waiting = self._carry_some(waiting)
                gevent.sleep(0)

    def _carry_some(self, users: list[str]) -> list[str]:
        """Gives those of whom there may be more to read."""
        found = {user: self._channels[user] for user in users if user in self._channels}
        places = {user: channel.place for user, channel in found.items() if channel.place}
        news = self._streams.news(places) if places else {}
        full = [user for user, events in news.items() if events and len(events) >= EVENTS_AT_ONCE]
        # Where that much came, the stream may have let go of the place, and of more.
        lost = self._streams.keep({user: places[user] for user in full}) if full else set()
        lost |= {user for user, events in news.items() if events is None}
        for user_id, events in news.items():
            if user_id not in lost and found[user_id].place == places[user_id]:
                self._tell(found[user_id], events or [])
        self._start_over({user: found[user] for user in lost}, places)
        return full

    def _tell(self, channel: Channel, events: list[Event]) -> None:
        untold = 0
        for event in events:
            channel.move(event.id)
            told = of_event(event)
            for listener in list(channel.listeners):
                listener.hear(told)
            untold += len(told.payload)
            if untold > TURN_BYTES:
                # What is told is written in turns: else it would all have to wait in memory.
                untold = 0
                gevent.sleep(0)
                if channel.place != event.id:
                    break

    def _check(self) -> None:
        """Has the streams stay. Those whose place is gone go on from a new one, and say so."""
        channels = dict(self._channels)
        places = {user: channel.place for user, channel in channels.items()}
        gone = self._streams.keep({user: place for user, place in places.items() if place})
        gone |= {user for user, place in places.items() if not place}
        self._start_over({user: channels[user] for user in gone}, places)

    def _start_over(self, channels: dict[str, Channel], places: dict[str, str]) -> None:
        opened = self._streams.open(sorted(channels)) if channels else {}
        for user_id, place in opened.items():
            channel = channels[user_id]
            # Unless somebody else did so meanwhile.
            if channel.place == places[user_id]:
                channel.move(place)
                for listener in list(channel.listeners):
                    listener.require_reset()
