"""One client's ears: a cursor in a user's stream, and where what comes behind it goes.

Up to its place everything was told that the client wants to hear. A listener is live, and then the
hub tells it what comes; or it is behind, and fetches what it missed until it has caught up. Between
the last look at the stream and being live nothing waits for anything, so no event is left out and
none comes twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from models.events import Event
from storage.errors import TierError
from storage.redis.event_streams import EventStreams
from webapp.realtime.frames import EventFrame, frame, of_event
from webapp.realtime.outbox import Outbox
from webapp.realtime.protocol import NOWHERE, position

PAGE_EVENTS = 50
RETRY_SECONDS = 0.5
MOST_HELD = 256
MOST_REMEMBERED = 1_024
LOST = "what happened meanwhile is no longer known here: read it over HTTP"


class Channel:
    """What a process knows of one user's stream: up to where it was read, and who listens."""

    def __init__(self, user_id: str, place: str) -> None:
        self.user_id = user_id
        self.listeners: set[Listener] = set()
        self.move(place)

    def move(self, place: str) -> None:
        """Up to here it was read, and told to everyone who is live."""
        self.place = place
        self.position = position(place)


class Listener:
    """See above. `threads` narrows what is told, None to nothing."""

    def __init__(
        self, outbox: Outbox, put: Callable[[EventFrame], None], streams: EventStreams
    ) -> None:
        """`put` has a frame written, in the form of this client's wire."""
        self.threads: frozenset[str] | None = None
        self.is_over = False
        self._outbox = outbox
        self._put = put
        self._streams = streams
        self._turn = BoundedSemaphore(1)
        self._is_live = False
        self._is_checked = True
        self._held: list[EventFrame] | None = None
        self._own: dict[Any, None] = {}
        self._told: dict[Any, None] = {}
        self._catching: Any = None
        self._numbered = 0

    def join(self, channel: Channel, place: str) -> None:
        """Belongs to a user's channel from now on, and waits at a place until `go_on`."""
        self._channel = channel
        self._stand(place)
        channel.listeners.add(self)

    def next_id(self) -> str:
        """An event id for what is no event of the stream: going on from it is going on from
        the place of this listener."""
        self._numbered += 1
        mark = "." if self.place else "~"
        return f"{self.place}{mark}{self._numbered}"

    def rewind(self, place: str) -> None:
        """Waits at another place from now on, which may be gone, until `go_on`."""
        with self._turn:
            self._is_live = False
            self._is_checked = False
            self._stand(place)

    def go_on(self) -> None:
        """Has everything told that is behind the place, and then what comes."""
        if self._is_live or self._catching is not None:
            return
        if self._has_caught_up():
            self._is_live = True
        else:
            self._catching = gevent.spawn(self._catch_up)

    def reset(self) -> None:
        """Says that there is no going on from the place, and goes on from the channel's."""
        self._stand(self._channel.place)
        self._is_checked = self._is_live = True
        if self._held is not None:
            self._held.clear()
        self._put(frame("reset", self.next_id(), detail=LOST))

    def require_reset(self) -> None:
        """The channel starts over: whoever stands at a place looks whether that is still there.

        It may well be: the channel may only have been opened while the stream could not be asked.
        """
        is_waiting = not self._is_live and self._catching is None
        self._is_live = self._is_checked = False
        if not is_waiting:
            self.go_on()

    def hear(self, event: EventFrame) -> None:
        """An event that has come. Whoever is behind will fetch it."""
        if not self._is_live or event.position <= self._position:
            return
        if self._held is not None:
            self._hold(self._held, event)
        elif self._outbox.is_crowded:
            # From now on at the client's own pace, out of the stream and not out of memory.
            self._is_live = False
            self.go_on()
        else:
            self._pass(event)

    def hear_beside(self, told: EventFrame) -> None:
        """An event that the stream does not have, and may have late."""
        if told.event is not None and self._wants(told.event):
            _remember(self._told, (told.event.type, told.event.message_id))
            self._put(told)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """What comes within the block is told after it."""
        with self._turn:
            self._held = []
            try:
                yield
            finally:
                held, self._held = self._held, None
                for event in held:
                    self._pass(event)
                if not self._is_live and self._is_checked:
                    self.go_on()

    def sent(self, message_id: str) -> None:
        """The client knows of this message, for it wrote it here."""
        _remember(self._own, message_id)

    def _hold(self, held: list[EventFrame], event: EventFrame) -> None:
        if len(held) < MOST_HELD:
            held.append(event)
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
                    # The hub says so once for all; here there is only to wait.
                    gevent.sleep(RETRY_SECONDS)
        finally:
            self._catching = None

    def _fetch(self) -> None:
        user_id, place = self._channel.user_id, self.place
        page = self._streams.after(user_id, place, PAGE_EVENTS) if place else None
        if self.is_over or self._is_live:
            return
        if page is None:
            self.reset()
            return
        self._is_checked = True
        for event in page:
            # The client's own pace: a replay is no reason to call it slow.
            self._outbox.wait_for_room()
            self._pass(of_event(event))
        if not page and not self._has_caught_up():
            self._stand(self._channel.place)
        self._is_live = self._has_caught_up()

    def _has_caught_up(self) -> bool:
        return self._is_checked and self._channel.position <= self._position

    def _pass(self, told: EventFrame) -> None:
        if told.event is None or told.position <= self._position:
            return
        self._stand(told.event.id)
        if self._wants(told.event):
            self._put(told)

    def _wants(self, event: Event) -> bool:
        if event.type == "message_received" and event.message_id in self._own:
            del self._own[event.message_id]
            return False
        if event.is_late and (event.type, event.message_id) in self._told:
            del self._told[event.type, event.message_id]
            return False
        return self.threads is None or event.thread_id in self.threads

    def _stand(self, place: str = NOWHERE) -> None:
        self.place = place
        self._position = position(place)


def _remember(memory: dict[Any, None], what: Any) -> None:
    memory[what] = None
    if len(memory) > MOST_REMEMBERED:
        del memory[next(iter(memory))]
