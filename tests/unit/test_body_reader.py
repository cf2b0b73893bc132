"""The memory for large bodies: what is acquired is released, nobody has more than a share."""

from typing import Any, cast

from webapp.door.admission import Allowance, BodyBudget
from webapp.door.body_reader import SMALL_BYTES, BodyReader
from webapp.door.bridge import DoorRequest

MOST = 1024 * 1024


def test_nobody_has_more_than_a_share_and_what_is_taken_comes_back() -> None:
    budget = BodyBudget(100, 40)
    assert budget.acquire("a", "ann", 30)
    assert not budget.acquire("b", "ann", 20)
    assert budget.acquire("c", "bob", 40)
    assert budget.acquire("d", "eve", 30)
    assert not budget.acquire("e", "zoe", 1)
    budget.release("a")
    budget.release("a")
    assert budget.acquire("b", "ann", 30)
    assert not budget.acquire("e", "zoe", 1)


class _Request:
    def __init__(self) -> None:
        self.headers = {"content-length": str(MOST)}


class _Host:
    """A door at which the clock ends a reader while it acquires memory."""

    now = 0.0

    def __init__(self) -> None:
        self.reading: set[BodyReader] = set()
        self.budget = _ClockedBudget(self)

    def allowance(self, request: DoorRequest) -> Allowance:
        return Allowance("ann", MOST)


class _ClockedBudget(BodyBudget):
    def __init__(self, host: _Host) -> None:
        super().__init__(MOST, MOST)
        self._host = host

    def acquire(self, holder: object, user_id: str, size: int) -> bool:
        for reader in list(self._host.reading):
            assert reader.claim()
            reader.release()
        return super().acquire(holder, user_id, size)


def test_room_taken_while_the_clock_ends_it_comes_back() -> None:
    host = _Host()
    reader = BodyReader(cast(Any, host), cast(Any, _Request()))
    host.reading.add(reader)
    reader._check_allowance()
    reader._size = 3 * SMALL_BYTES
    assert not reader._store(b"x" * 3 * SMALL_BYTES)
    host.reading.clear()
    assert host.budget.acquire("another", "bob", MOST)
