"""The same events as a stream of server-sent events, for those who only listen."""

import time
from contextlib import suppress
from socket import SHUT_RD
from typing import Any

import gevent

from settings import Settings
from webapp.realtime.frames import EventFrame
from webapp.realtime.listener import Listener
from webapp.realtime.outbox import Outbox
from webapp.realtime.process import Realtime
from webapp.realtime.protocol import place_in

COMMENT_SECONDS = 15.0
CLOSE_SECONDS = 2.0
COMMENT = b": still here\n\n"


class EventStream:
    """One client that listens. It ends with its token, or when it does not read."""

    def __init__(
        self,
        process: Realtime,
        sock: Any,
        user_id: str,
        until: float,
    ) -> None:
        settings: Settings = process.web.settings
        self._process = process
        self._socket = sock
        self._user_id = user_id
        self._until = until
        self._stalled_seconds = settings.socket_stalled_seconds
        self._wrote_at = time.monotonic()
        self._outbox = Outbox(
            sock, settings.socket_queue_frames, settings.socket_queue_bytes, self._end
        )
        self._listener = Listener(self._outbox, self._put, process.web.services.events)
        self._is_over = False

    def run(self, head: bytes, threads: frozenset[str] | None, last_event_id: str | None) -> None:
        """Serves the client to its end, from behind an event or from now on."""
        self._process.guests.enter(self)
        try:
            listener = self._listener
            listener.threads = threads
            self._process.hub.join(self._user_id, listener)
            # Whoever is cut off before the first event has a place to go on from as well.
            place = f": listening\nid: {listener.next_id()}\n\n"
            self._outbox.put(head + place.encode())
            self._go_on(last_event_id)
            # Whoever listens says nothing more; what comes is its end.
            while not self._is_over and self._socket.recv(1024):
                gevent.sleep(0)
        except OSError:
            # Whoever is gone has no use for a word about it.
            pass
        finally:
            self._process.guests.leave(self)
            self._process.guests.unseat(self._user_id)
            self._process.hub.leave(self._user_id, self._listener)
            self._outbox.flush(CLOSE_SECONDS)
            self._outbox.give_up()
            self._socket.close()

    def look_after(self, now: float, wall: float) -> None:
        """Does what is due."""
        if wall >= self._until or self._outbox.stalled_for(now) > self._stalled_seconds:
            self._end()
        elif now - self._wrote_at > COMMENT_SECONDS:
            self._wrote_at = now
            self._outbox.put(COMMENT)

    def dismiss(self) -> None:
        """Ends it behind what waits to be written; clients come back by themselves."""
        self._end()

    def _go_on(self, last_event_id: str | None) -> None:
        place = None if last_event_id is None else place_in(last_event_id)
        if place == "":
            self._listener.reset()
        elif place is not None:
            self._listener.rewind(place)
        self._listener.go_on()

    def _put(self, frame: EventFrame) -> None:
        self._wrote_at = time.monotonic()
        if not self._outbox.put(frame.lines, frame.event_id):
            # It comes back with the last event that it got.
            self._outbox.give_up()
            self._end()

    def _end(self) -> None:
        """Has `run` come to its end."""
        self._is_over = True
        with suppress(OSError):
            self._socket.shutdown(SHUT_RD)
