"""One client's subscription: a cursor in its user's event stream, and where later events go.

Every event up to the cursor was delivered, if the client wants it. A live listener is given events
by the hub; one that is behind fetches what it missed until it has caught up. Nothing yields between
its last read of the stream and becoming live, so no event is left out and none comes twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from models.events import Event
from storage.errors import TierError
from storage.redis.event_streams import EventStreams
from webapp.realtime.frames import EventFrame, of_event, reset_frame
from webapp.realtime.outbox import Outbox
from webapp.realtime.protocol import NO_CURSOR, position

PAGE_EVENTS = 50
RETRY_SECONDS = 0.5
MOST_HELD = 256
MOST_REMEMBERED = 1_024
RESET_DETAIL = "what happened meanwhile is no longer known here: read it over HTTP"


class Channel:
    """One user's stream in this process: the cursor up to which it was read, and its listeners."""

    def __init__(self, user_id: str, cursor: str) -> None:
        self.user_id = user_id
        self.listeners: set[Listener] = set()
        self.move(cursor)

    def move(self, cursor: str) -> None:
        """Notes that the stream was read, and delivered to all live listeners, up to `cursor`."""
        self.cursor = cursor
        self.position = position(cursor)


class Listener:
    """The subscription of one client. `threads` are those it wants events of, None for all."""

    def __init__(
        self, outbox: Outbox, put: Callable[[EventFrame], None], streams: EventStreams
    ) -> None:
        """`put` writes a frame in the form of this client's protocol."""
        self.threads: frozenset[str] | None = None
        self.is_over = False
        self._outbox = outbox
        self._put = put
        self._streams = streams
        self._turn = BoundedSemaphore(1)
        self._is_live = False
        self._is_checked = True
        self._held: list[EventFrame] | None = None
        self._sent: dict[Any, None] = {}
        self._delivered_directly: dict[Any, None] = {}
        self._replay: Any = None
        self._issued = 0

    def join(self, channel: Channel, cursor: str) -> None:
        """Adds itself to a user's channel, and waits at `cursor` until `resume`."""
        self._channel = channel
        self._move_to(cursor)
        channel.listeners.add(self)

    def next_id(self) -> str:
        """An event id for a frame that is no event of the stream. Resuming from it is resuming from
        this listener's cursor."""
        self._issued += 1
        mark = "." if self.cursor else "~"
        return f"{self.cursor}{mark}{self._issued}"

    def rewind(self, cursor: str) -> None:
        """Moves to another cursor, which may be trimmed away, and waits there until `resume`."""
        with self._turn:
            self._is_live = False
            self._is_checked = False
            self._move_to(cursor)

    def resume(self) -> None:
        """Delivers the events after the cursor, and then those that come."""
        if self._is_live or self._replay is not None:
            return
        if self._has_caught_up():
            self._is_live = True
        else:
            self._replay = gevent.spawn(self._catch_up)

    def reset(self) -> None:
        """Sends a `reset` frame, as events after the cursor are lost, and goes on from the
        channel's cursor."""
        self._move_to(self._channel.cursor)
        self._is_checked = self._is_live = True
        if self._held is not None:
            self._held.clear()
        self._put(reset_frame(self.next_id(), RESET_DETAIL))

    def require_reset(self) -> None:
        """Checks whether its cursor is still in the stream, as the channel has a new one.

        It may be: the channel may only have been opened while Redis was down.
        """
        is_waiting = not self._is_live and self._replay is None
        self._is_live = self._is_checked = False
        if not is_waiting:
            self.resume()

    def deliver(self, frame: EventFrame) -> None:
        """Takes a new event. A listener that is behind ignores it, and fetches it later."""
        if not self._is_live or frame.position <= self._position:
            return
        if self._held is not None:
            self._hold(self._held, frame)
        elif self._outbox.is_crowded:
            # From now on it reads the stream at the client's pace, so that memory holds no backlog.
            self._is_live = False
            self.resume()
        else:
            self._forward(frame)

    def deliver_directly(self, frame: EventFrame) -> None:
        """Delivers an event that the stream does not have, and may get late."""
        event = frame.event
        if event is not None and self._wants(event):
            _remember(self._delivered_directly, (event.type, event.message_id))
            self._put(frame)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Delivers events that come within the block after it."""
        with self._turn:
            self._held = []
            try:
                yield
            finally:
                held, self._held = self._held, None
                for frame in held:
                    self._forward(frame)
                if not self._is_live and self._is_checked:
                    self.resume()

    def sent(self, message_id: str) -> None:
        """Notes a message that the client sent here, so that its event is not delivered."""
        _remember(self._sent, message_id)

    def _hold(self, held: list[EventFrame], frame: EventFrame) -> None:
        if len(held) < MOST_HELD:
            held.append(frame)
        else:
            held.clear()
            self._is_live = False

    def _catch_up(self) -> None:
        try:
            while not (self.is_over or self._is_live):
                self._outbox.wait_for_room()
                try:
                    with self._turn:
                        self._fetch()
                except TierError:
                    # The hub logs the outage once for all listeners.
                    gevent.sleep(RETRY_SECONDS)
        finally:
            self._replay = None

    def _fetch(self) -> None:
        user_id, cursor = self._channel.user_id, self.cursor
        page = self._streams.after(user_id, cursor, PAGE_EVENTS) if cursor else None
        if self.is_over or self._is_live:
            return
        if page is None:
            self.reset()
            return
        self._is_checked = True
        for event in page:
            # A replay goes at the client's pace: it must not count as slow because of it.
            self._outbox.wait_for_room()
            self._forward(of_event(event))
        if not page and not self._has_caught_up():
            self._move_to(self._channel.cursor)
        self._is_live = self._has_caught_up()

    def _has_caught_up(self) -> bool:
        return self._is_checked and self._channel.position <= self._position

    def _forward(self, frame: EventFrame) -> None:
        if frame.event is None or frame.position <= self._position:
            return
        self._move_to(frame.event.id)
        if self._wants(frame.event):
            self._put(frame)

    def _wants(self, event: Event) -> bool:
        if event.type == "message_received" and event.message_id in self._sent:
            del self._sent[event.message_id]
            return False
        if event.is_late and (event.type, event.message_id) in self._delivered_directly:
            del self._delivered_directly[event.type, event.message_id]
            return False
        return self.threads is None or event.thread_id in self.threads

    def _move_to(self, cursor: str = NO_CURSOR) -> None:
        self.cursor = cursor
        self._position = position(cursor)


def _remember(memory: dict[Any, None], what: Any) -> None:
    memory[what] = None
    if len(memory) > MOST_REMEMBERED:
        del memory[next(iter(memory))]
