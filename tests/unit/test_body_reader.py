"""The room for large bodies: what is taken comes back, and nobody has more than a share."""

from typing import Any, cast

from webapp.door.admission import Allowed, Room
from webapp.door.arrival import SMALL_BYTES, Arrival
from webapp.door.bridge import DoorRequest

MOST = 1024 * 1024


def test_nobody_has_more_than_a_share_and_what_is_taken_comes_back() -> None:
    room = Room(100, 40)
    assert room.take("a", "ann", 30)
    assert not room.take("b", "ann", 20)
    assert room.take("c", "bob", 40)
    assert room.take("d", "eve", 30)
    assert not room.take("e", "zoe", 1)
    room.leave("a")
    room.leave("a")
    assert room.take("b", "ann", 30)
    assert not room.take("e", "zoe", 1)


class _Request:
    def __init__(self) -> None:
        self.headers = {"content-length": str(MOST)}


class _Host:
    """A door at which the clock ends an arrival while it takes room."""

    now = 0.0

    def __init__(self) -> None:
        self.under_way: set[Arrival] = set()
        self.room = _ClockedRoom(self)

    def allowed(self, request: DoorRequest) -> Allowed:
        return Allowed("ann", MOST)


class _ClockedRoom(Room):
    def __init__(self, host: _Host) -> None:
        super().__init__(MOST, MOST)
        self._host = host

    def take(self, holder: object, user_id: str, size: int) -> bool:
        for arrival in list(self._host.under_way):
            assert arrival.claim()
            arrival.leave()
        return super().take(holder, user_id, size)


def test_room_taken_while_the_clock_ends_it_comes_back() -> None:
    host = _Host()
    arrival = Arrival(cast(Any, host), cast(Any, _Request()))
    host.under_way.add(arrival)
    arrival._judge()
    arrival._size = 3 * SMALL_BYTES
    assert not arrival._keep(b"x" * 3 * SMALL_BYTES)
    host.under_way.clear()
    assert host.room.take("another", "bob", MOST)
