"""The same events as server-sent events, for clients that only listen."""

import time
from contextlib import suppress
from socket import SHUT_RD
from typing import Any

import gevent

from settings import Settings
from webapp.http.context import Visit
from webapp.identity.caller import Caller
from webapp.realtime.frames import EventFrame, authenticated_frame
from webapp.realtime.listener import Listener
from webapp.realtime.outbox import Outbox
from webapp.realtime.process import Realtime
from webapp.realtime.protocol import NO_CURSOR, cursor_in

COMMENT_SECONDS = 15.0
CLOSE_SECONDS = 2.0
COMMENT = b": still here\n\n"


class EventStream:
    """One client's event stream. It ends when its token does or the client stops reading."""

    def __init__(
        self,
        process: Realtime,
        sock: Any,
        caller: Caller,
        until: float,
    ) -> None:
        settings: Settings = process.web.settings
        self._process = process
        self._socket = sock
        self._user_id = caller.user_id
        self._visit = Visit(process.web.tokens, caller)
        self._until = until
        self._stalled_seconds = settings.socket_stalled_seconds
        self._wrote_at = time.monotonic()
        self._outbox = Outbox(
            sock, settings.socket_queue_frames, settings.socket_queue_bytes, self._end
        )
        self._listener = Listener(self._outbox, self._put, process.web.services.tiers.events)
        self._is_over = False

    def run(
        self,
        head: bytes,
        threads: frozenset[str] | None,
        last_event_id: str | None,
        *,
        is_page: bool,
    ) -> None:
        """Serves the client until it leaves: events after `last_event_id`, or from now on.

        A page cannot read the id that a stream begins with, so it is told that by an event.
        """
        self._process.connections.add(self)
        try:
            listener = self._listener
            listener.threads = threads
            self._process.hub.join(self._user_id, listener)
            cursor = None if last_event_id is None else cursor_in(last_event_id)
            if cursor is not None:
                listener.rewind(cursor)
            self._outbox.put(head + self._opening(is_page=is_page))
            if cursor == NO_CURSOR:
                listener.reset()
            listener.resume()
            # This client sends nothing more: recv returns when it leaves.
            while not self._is_over and self._socket.recv(1024):
                gevent.sleep(0)
        except OSError:
            # The client is gone: nobody is left to be told.
            pass
        finally:
            self._process.connections.remove(self)
            self._process.connections.release(self._user_id)
            self._process.hub.leave(self._user_id, self._listener)
            self._outbox.flush(CLOSE_SECONDS)
            self._outbox.discard()
            self._socket.close()

    def tick(self, now: float, wall: float) -> None:
        """Ends it when its token has expired or was revoked, or when it stalls; sends a comment
        while idle."""
        is_over = wall >= self._until or self._visit.is_over()
        if is_over or self._outbox.stalled_for(now) > self._stalled_seconds:
            self._end()
        elif now - self._wrote_at > COMMENT_SECONDS:
            self._wrote_at = now
            self._outbox.put(COMMENT)

    def close_for_restart(self) -> None:
        """Ends it after what waits to be written; clients reconnect by themselves."""
        self._end()

    def _opening(self, *, is_page: bool) -> bytes:
        """A client that is cut off before the first event has an id to resume from as well."""
        event_id = self._listener.next_id()
        if not is_page:
            return f": listening\nid: {event_id}\n\n".encode()
        return b": listening\n" + authenticated_frame(event_id, self._user_id, self._until).lines

    def _put(self, frame: EventFrame) -> None:
        self._wrote_at = time.monotonic()
        if not self._outbox.put(frame.lines, frame.event_id):
            # The client reconnects with the id of the last event that it got.
            self._outbox.discard()
            self._end()

    def _end(self) -> None:
        """Has `run` return."""
        self._is_over = True
        with suppress(OSError):
            self._socket.shutdown(SHUT_RD)
