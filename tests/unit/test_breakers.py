"""What opens a breaker, what does not, and that nobody pays for finding out that it may close."""

import threading
import time
from collections.abc import Callable

import pytest

from storage.errors import TierRejected, TierUnavailable
from storage.resilience import budget
from storage.resilience.breaker import SLOW_CALLS, Breaker
from support.waiting import eventually

SLOW_SECONDS = 0.2


class Tier:
    """A tier whose health the test decides; counts how often it was probed."""

    def __init__(self) -> None:
        self.is_well = False
        self.probes = 0
        self.answers_after_seconds = 0.0

    def probe(self) -> None:
        self.probes += 1
        time.sleep(self.answers_after_seconds)
        if not self.is_well:
            raise TierUnavailable("redis", "still out")


@pytest.fixture
def tier() -> Tier:
    return Tier()


@pytest.fixture
def breaker(tier: Tier) -> Breaker:
    return Breaker("redis", tier.probe, slow_seconds=SLOW_SECONDS)


def call(breaker: Breaker, act: Callable[[], None] = lambda: None) -> None:
    with breaker.guard():
        act()


def fail(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def probing() -> int:
    return _threads("probe-redis")


def judging() -> int:
    return _threads("judge-redis")


def _threads(name: str) -> int:
    return [thread.name for thread in threading.enumerate()].count(name)


def test_one_outage_opens_it_and_nothing_is_tried_after(breaker: Breaker) -> None:
    with pytest.raises(TierUnavailable) as first:
        call(breaker, fail(TierUnavailable("redis", "gone")))
    assert first.value.is_ambiguous
    called = threading.Event()
    with pytest.raises(TierUnavailable) as second:
        call(breaker, called.set)
    assert not called.is_set()
    assert not second.value.tried
    assert not second.value.is_ambiguous
    assert breaker.state().reason


@pytest.mark.parametrize(
    "error",
    [
        TierUnavailable("redis", "no room", passing=True),
        TierUnavailable("postgresql", "another tier"),
        TierRejected("redis", "never"),
        ValueError(),
    ],
)
def test_what_is_no_outage_of_the_tier_opens_nothing(breaker: Breaker, error: Exception) -> None:
    with pytest.raises(type(error)):
        call(breaker, fail(error))
    assert breaker.is_closed


def test_slow_calls_in_a_row_open_it_if_a_probe_is_slow_too(breaker: Breaker, tier: Tier) -> None:
    tier.is_well, tier.answers_after_seconds = True, SLOW_SECONDS * 1.2
    for _ in range(SLOW_CALLS):
        assert breaker.is_closed
        call(breaker, lambda: time.sleep(SLOW_SECONDS * 1.2))
    eventually(lambda: not breaker.is_closed)
    assert "in a row" in (breaker.state().reason or "")


def test_slow_calls_of_a_slow_process_open_nothing(breaker: Breaker, tier: Tier) -> None:
    tier.is_well = True
    for suspected in (1, 2):
        for _ in range(SLOW_CALLS):
            call(breaker, lambda: time.sleep(SLOW_SECONDS * 1.2))
        eventually(lambda suspected=suspected: tier.probes == suspected)
        eventually(lambda: judging() == 0)
    assert breaker.is_closed
    assert breaker.state().opened == 0


def test_a_quick_call_between_slow_ones_keeps_it_closed(breaker: Breaker) -> None:
    for _ in range(SLOW_CALLS):
        call(breaker, lambda: time.sleep(SLOW_SECONDS * 1.2))
        call(breaker)
    assert breaker.is_closed


def test_bulk_may_take_its_time(breaker: Breaker) -> None:
    for _ in range(SLOW_CALLS + 1):
        with breaker.guard(is_bulk=True):
            time.sleep(SLOW_SECONDS * 1.2)
    assert breaker.is_closed


LATE = TierUnavailable("redis", "it did not answer in time", late=True)


def late(breaker: Breaker, *, is_bulk: bool) -> None:
    with pytest.raises(TierUnavailable), breaker.guard(is_bulk=is_bulk):
        raise LATE


def test_what_moves_much_and_is_late_opens_nothing_where_a_probe_is_answered(
    breaker: Breaker, tier: Tier
) -> None:
    tier.is_well = True
    for suspected in (1, 2):
        late(breaker, is_bulk=True)
        eventually(lambda suspected=suspected: tier.probes == suspected)
        eventually(lambda: judging() == 0)
    assert breaker.is_closed
    assert breaker.state().opened == 0


def test_nor_does_what_was_late_because_there_was_little_time(breaker: Breaker, tier: Tier) -> None:
    tier.is_well = True
    with budget.within(0.1), pytest.raises(TierUnavailable), breaker.guard():
        time.sleep(0.1)
        raise LATE
    eventually(lambda: tier.probes == 1)
    eventually(lambda: judging() == 0)
    assert breaker.is_closed


def test_what_moves_much_and_is_late_opens_it_where_no_probe_is_answered(breaker: Breaker) -> None:
    late(breaker, is_bulk=True)
    eventually(lambda: not breaker.is_closed)
    assert "in time" in (breaker.state().reason or "")


def test_what_is_small_and_late_opens_it_at_once(breaker: Breaker, tier: Tier) -> None:
    tier.is_well = True
    late(breaker, is_bulk=False)
    assert breaker.state().opened == 1


def test_without_time_nothing_is_asked(breaker: Breaker) -> None:
    called = threading.Event()
    with budget.within(0.0), pytest.raises(TierUnavailable) as refused:
        call(breaker, called.set)
    assert not called.is_set()
    assert not refused.value.is_ambiguous
    assert breaker.is_closed


def test_a_probe_closes_it_and_no_caller_is_let_in_before(breaker: Breaker, tier: Tier) -> None:
    breaker.open("gone")
    eventually(lambda: tier.probes >= 2)
    with pytest.raises(TierUnavailable):
        call(breaker)
    tier.is_well = True
    eventually(lambda: breaker.is_closed)
    call(breaker)


def test_a_tier_that_answers_the_probe_slowly_stays_out(breaker: Breaker, tier: Tier) -> None:
    tier.is_well, tier.answers_after_seconds = True, SLOW_SECONDS * 2
    breaker.open("gone")
    eventually(lambda: tier.probes >= 2)
    assert not breaker.is_closed
    assert "slowly" in (breaker.state().reason or "")
    tier.answers_after_seconds = 0.0
    eventually(lambda: breaker.is_closed)


def test_opened_by_many_at_once_it_is_probed_by_one(breaker: Breaker) -> None:
    before = probing()
    threads = [threading.Thread(target=breaker.open, args=("gone",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert probing() == before + 1
    assert breaker.state().opened == 1


def test_a_probe_that_fails_in_any_way_is_repeated() -> None:
    wrong = iter([ValueError("strange"), None])

    def probe() -> None:
        error = next(wrong)
        if error is not None:
            raise error

    breaker = Breaker("redis", probe, slow_seconds=1)
    breaker.open("gone")
    eventually(lambda: breaker.is_closed)
