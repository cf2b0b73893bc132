"""Everyone who is connected to this process: how many they may be, and one look at all of them."""

import time
from collections import Counter
from typing import Protocol

import gevent

from settings import Settings
from storage.telemetry.instruments import Instruments

LOOK_SECONDS = 1.0
STRANGERS_SHARE = 10
"""Of the places one in so many is for those of whom nobody knows yet who they are."""


class Guest(Protocol):
    """A socket or an event stream."""

    def look_after(self, now: float, wall: float) -> None:
        """Does what is due, by the monotonic clock and by seconds since 1970."""

    def dismiss(self) -> None:
        """Ends it in order, for this process ends."""


class ConnectionLimiter:
    """Who is here. Places are taken by guests, and by users once they are known."""

    def __init__(self, settings: Settings, instruments: Instruments) -> None:
        self._instruments = instruments
        self._most = settings.sockets
        self._most_of_one = settings.sockets_per_user
        self._guests: set[Guest] = set()
        self._strangers: set[Guest] = set()
        self._users: Counter[str] = Counter()
        self._is_closing = False

    def begin(self) -> None:
        """Starts the greenlet that looks after them."""
        self._count()
        gevent.spawn(self._look_on)

    @property
    def is_full(self) -> bool:
        """Whether nobody else can come in."""
        return self._is_closing or len(self._guests) >= self._most

    @property
    def has_room_for_strangers(self) -> bool:
        """Whether one can come in who has yet to say who it is."""
        return len(self._strangers) < max(1, self._most // STRANGERS_SHARE)

    def enter(self, guest: Guest, *, is_stranger: bool = False) -> None:
        """Looks after a guest from now on; after a stranger until `greet` or `leave`."""
        self._guests.add(guest)
        if is_stranger:
            self._strangers.add(guest)
        self._count()
        if self._is_closing:
            guest.dismiss()

    def greet(self, guest: Guest) -> None:
        """A stranger has said who it is."""
        self._strangers.discard(guest)

    def leave(self, guest: Guest) -> None:
        """Forgets a guest."""
        self._guests.discard(guest)
        self._strangers.discard(guest)
        self._count()

    def seat(self, user_id: str) -> bool:
        """Whether one more of a user's has a place; `unseat` gives it back."""
        if self._users[user_id] >= self._most_of_one:
            return False
        self._users[user_id] += 1
        return True

    def unseat(self, user_id: str) -> None:
        """Gives a place back."""
        self._users[user_id] -= 1
        if self._users[user_id] <= 0:
            del self._users[user_id]

    def dismiss(self, seconds: float) -> None:
        """Ends everyone in order, and returns when they are gone, or after so many seconds."""
        self._is_closing = True
        for guest in list(self._guests):
            guest.dismiss()
        deadline = time.monotonic() + seconds
        while self._guests and time.monotonic() < deadline:
            gevent.sleep(0.02)

    def _count(self) -> None:
        self._instruments.sockets(len(self._guests))

    def _look_on(self) -> None:
        while True:
            gevent.sleep(LOOK_SECONDS)
            now, wall = time.monotonic(), time.time()
            for guest in list(self._guests):
                guest.look_after(now, wall)
