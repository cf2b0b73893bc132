"""Reads the event streams of the users who listen in this process, and delivers what came.

One greenlet waits for notifications and reads the streams that they name, and all streams every
second, since a notification may be lost. Another extends the lifetimes of the streams, and finds
cursors that are trimmed away. Nothing yields between reading an event and delivering it, so each
listener is given each event once, in order.
"""

import time
from collections.abc import Collection
from itertools import count

import gevent
import structlog

from models.caveats import Acknowledgement
from models.events import Event
from storage.errors import TierError
from storage.redis.event_streams import EVENTS_AT_ONCE, EventStreams
from webapp.realtime.frames import direct_frames, of_event
from webapp.realtime.listener import Channel, Listener
from webapp.realtime.protocol import NO_CURSOR

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
KEEP_SECONDS = 5.0
RETRY_SECONDS = 0.5
USERS_AT_ONCE = 200
TURN_BYTES = 128 * 1024


class Hub:
    """The one reader of event streams of a process."""

    def __init__(self, streams: EventStreams) -> None:
        self._streams = streams
        self._channels: dict[str, Channel] = {}
        self._numbers = count(1)
        self._is_down = False

    def begin(self) -> None:
        """Starts both greenlets."""
        gevent.spawn(self._read_loop)
        gevent.spawn(self._keep_loop)

    def join(self, user_id: str, listener: Listener) -> None:
        """Places a listener at the newest cursor of its user's stream."""
        try:
            cursor = self._streams.open([user_id])[user_id]
        except TierError:
            # The client may do what needs no Redis; it is reset when Redis is back.
            cursor = NO_CURSOR
        channel = self._channels.get(user_id)
        if channel is None:
            channel = self._channels[user_id] = Channel(user_id, cursor)
        listener.join(channel, cursor)

    def leave(self, user_id: str, listener: Listener) -> None:
        """Delivers nothing more to a listener."""
        listener.is_over = True
        channel = self._channels.get(user_id)
        if channel is not None:
            channel.listeners.discard(listener)
            if not channel.listeners:
                del self._channels[user_id]

    def deliver_directly(self, done: Acknowledgement, sender: Listener) -> None:
        """Delivers a message that was written while Redis was down to this process's listeners;
        other processes learn of it when Redis has it."""
        channel = self._channels.get(done.message.user_id)
        if channel is None:
            return
        for frame in direct_frames(lambda: f"{channel.cursor}~{next(self._numbers)}", done):
            for listener in list(channel.listeners):
                if listener is not sender or frame.kind != "message_received":
                    listener.deliver_directly(frame)

    def _read_loop(self) -> None:
        while True:
            try:
                self._keep_streams()
                with self._streams.doorbell() as notifications:
                    if self._is_down:
                        log.info("events_again")
                        self._is_down = False
                    swept_at = 0.0
                    while True:
                        due: Collection[str] = notifications.wait(SWEEP_SECONDS)
                        if time.monotonic() - swept_at >= SWEEP_SECONDS:
                            swept_at = time.monotonic()
                            due = self._channels.keys()
                        self._read_streams(due)
            except TierError as error:
                self._note_outage(error)
                gevent.sleep(RETRY_SECONDS)

    def _keep_loop(self) -> None:
        while True:
            gevent.sleep(KEEP_SECONDS)
            try:
                self._keep_streams()
            except TierError as error:
                self._note_outage(error)

    def _note_outage(self, error: TierError) -> None:
        if not self._is_down:
            log.warning("events_out", tier=error.tier, reason=error.reason)
        self._is_down = True

    def _read_streams(self, users: Collection[str]) -> None:
        """Reads and delivers what came for these users."""
        named = [user_id for user_id in users if user_id in self._channels]
        for at in range(0, len(named), USERS_AT_ONCE):
            waiting = named[at : at + USERS_AT_ONCE]
            while waiting:
                waiting = self._read_batch(waiting)
                gevent.sleep(0)

    def _read_batch(self, users: list[str]) -> list[str]:
        """Reads and delivers one page a user; gives the users whose page was full."""
        found = {user: self._channels[user] for user in users if user in self._channels}
        cursors = {user: channel.cursor for user, channel in found.items() if channel.cursor}
        news = self._streams.news(cursors) if cursors else {}
        full = [user for user, events in news.items() if events and len(events) >= EVENTS_AT_ONCE]
        # A stream that grew by a full page may have been trimmed beyond the cursor.
        lost = self._streams.keep({user: cursors[user] for user in full}) if full else set()
        lost |= {user for user, events in news.items() if events is None}
        for user_id, events in news.items():
            if user_id not in lost and found[user_id].cursor == cursors[user_id]:
                self._deliver(found[user_id], events or [])
        self._reset_channels({user: found[user] for user in lost}, cursors)
        return full

    def _deliver(self, channel: Channel, events: list[Event]) -> None:
        undelivered_bytes = 0
        for event in events:
            channel.move(event.id)
            frame = of_event(event)
            for listener in list(channel.listeners):
                listener.deliver(frame)
            undelivered_bytes += len(frame.payload)
            if undelivered_bytes > TURN_BYTES:
                # Writers get a turn: else all of it would have to wait in memory.
                undelivered_bytes = 0
                gevent.sleep(0)
                if channel.cursor != event.id:
                    break

    def _keep_streams(self) -> None:
        """Extends the lifetimes of the streams. Listeners whose cursor is gone get a new one, and a
        reset."""
        channels = dict(self._channels)
        cursors = {user: channel.cursor for user, channel in channels.items()}
        gone = self._streams.keep({user: cursor for user, cursor in cursors.items() if cursor})
        gone |= {user for user, cursor in cursors.items() if not cursor}
        self._reset_channels({user: channels[user] for user in gone}, cursors)

    def _reset_channels(self, channels: dict[str, Channel], cursors: dict[str, str]) -> None:
        opened = self._streams.open(sorted(channels)) if channels else {}
        for user_id, cursor in opened.items():
            channel = channels[user_id]
            # Unless another greenlet has done so meanwhile.
            if channel.cursor == cursors[user_id]:
                channel.move(cursor)
                for listener in list(channel.listeners):
                    listener.require_reset()
