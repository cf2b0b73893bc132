"""All waits of a request share one deadline, and what it starts has none of it."""

import math
import threading

import pytest

from storage.availability.bypass import BypassRegistration
from storage.errors import TierUnavailable
from storage.resilience import budget


def test_a_wait_is_the_shorter_of_its_own_and_what_is_left() -> None:
    assert (budget.left(), budget.bounded(0.25)) == (math.inf, 0.25)
    with budget.within(1.0):
        assert budget.bounded(0.25) == 0.25
        assert 0.9 < budget.bounded(3.0) <= 1.0
        with budget.within(60.0):
            assert budget.left() <= 1.0
    assert budget.left() == math.inf


def test_where_nothing_is_left_nothing_more_is_begun() -> None:
    with budget.within(0.0):
        assert budget.bounded(1.0) > 0
        with pytest.raises(TierUnavailable) as refused:
            budget.check("redis")
    assert (refused.value.tried, refused.value.passing) == (False, True)


def test_what_moves_much_has_longer_but_no_longer_than_there_is() -> None:
    with budget.moving(budget.SLOWEST_BYTES):
        assert budget.bounded(0.25) == 1.25
        with budget.within(0.5):
            assert budget.bounded(0.25) <= 0.5
    assert budget.bounded(0.25) == 0.25


def test_a_thread_that_a_request_starts_goes_on_when_it_is_over() -> None:
    left: list[float] = []
    with budget.within(0.0):
        thread = threading.Thread(target=lambda: left.append(budget.left()))
        thread.start()
        thread.join()
    assert left == [math.inf]


def test_nobody_sleeps_or_waits_for_a_lock_beyond_it() -> None:
    lock = threading.Lock()
    with lock, budget.within(0.1):
        with pytest.raises(TierUnavailable), budget.taking(lock, "postgresql"):
            pass
        with pytest.raises(TierUnavailable):
            budget.sleep("clickhouse", 60.0)
    with budget.taking(lock, "postgresql"):
        assert lock.locked()


def test_who_waited_while_another_found_a_tier_gone_does_not_ask_it_once_more() -> None:
    asked: list[str] = []
    waits = threading.Event()

    def hold(holder: str) -> None:
        asked.append(holder)
        waits.wait(10)
        raise TierUnavailable("postgresql", "the server did not answer before the deadline")

    bypass = BypassRegistration("redis", "postgresql", hold)
    failed: list[TierUnavailable] = []

    def enter() -> None:
        try:
            bypass.acquire()
        except TierUnavailable as error:
            failed.append(error)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    # Each of them is at the lock by the time the first is told.
    while sum(thread.is_alive() for thread in threads) < len(threads) or not asked:
        pass
    threading.Event().wait(0.2)
    waits.set()
    for thread in threads:
        thread.join(10)
    assert (len(failed), len(asked)) == (8, 1)
