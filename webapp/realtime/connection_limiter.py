"""The clients of this process: how many may be connected, and what is due for each of them."""

import time
from collections import Counter
from typing import Protocol

import gevent

from settings import Settings
from storage.telemetry.instruments import Instruments

TICK_SECONDS = 1.0
UNAUTHENTICATED_SHARE = 10
"""At most one connection in so many may belong to a client that has not authenticated yet."""


class RealtimeClient(Protocol):
    """A WebSocket or an event stream."""

    def tick(self, now: float, wall: float) -> None:
        """Does what is due. `now` is monotonic seconds, `wall` seconds since 1970."""

    def close_for_restart(self) -> None:
        """Ends it in order, as this process ends."""


class ConnectionLimiter:
    """The connected clients, limited in all, to each user, and before they authenticate."""

    def __init__(self, settings: Settings, instruments: Instruments) -> None:
        self._instruments = instruments
        self._most = settings.sockets
        self._most_of_one = settings.sockets_per_user
        self._clients: set[RealtimeClient] = set()
        self._unauthenticated: set[RealtimeClient] = set()
        self._users: Counter[str] = Counter()
        self._is_closing = False

    def begin(self) -> None:
        """Starts the greenlet that ticks every client once a second."""
        self._count()
        gevent.spawn(self._tick_loop)

    @property
    def is_full(self) -> bool:
        """Whether no other client may connect."""
        return self._is_closing or len(self._clients) >= self._most

    @property
    def accepts_unauthenticated(self) -> bool:
        """Whether a client may connect that has yet to send its token."""
        return len(self._unauthenticated) < max(1, self._most // UNAUTHENTICATED_SHARE)

    def add(self, client: RealtimeClient, *, is_authenticated: bool = True) -> None:
        """Ticks a client from now on, until `remove`."""
        self._clients.add(client)
        if not is_authenticated:
            self._unauthenticated.add(client)
        self._count()
        if self._is_closing:
            client.close_for_restart()

    def mark_authenticated(self, client: RealtimeClient) -> None:
        """Notes that a client has sent its token."""
        self._unauthenticated.discard(client)

    def remove(self, client: RealtimeClient) -> None:
        """Forgets a client."""
        self._clients.discard(client)
        self._unauthenticated.discard(client)
        self._count()

    def acquire(self, user_id: str) -> bool:
        """Takes one of a user's connections, until `release`; False where none is left."""
        if self._users[user_id] >= self._most_of_one:
            return False
        self._users[user_id] += 1
        return True

    def release(self, user_id: str) -> None:
        """Gives a user's connection back."""
        self._users[user_id] -= 1
        if self._users[user_id] <= 0:
            del self._users[user_id]

    def close_all(self, seconds: float) -> None:
        """Ends all clients in order; returns when they are gone, or after so many seconds."""
        self._is_closing = True
        for client in list(self._clients):
            client.close_for_restart()
        deadline = time.monotonic() + seconds
        while self._clients and time.monotonic() < deadline:
            gevent.sleep(0.02)

    def _count(self) -> None:
        self._instruments.sockets(len(self._clients))

    def _tick_loop(self) -> None:
        while True:
            gevent.sleep(TICK_SECONDS)
            now, wall = time.monotonic(), time.time()
            for client in list(self._clients):
                client.tick(now, wall)
