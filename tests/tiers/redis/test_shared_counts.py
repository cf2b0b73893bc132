"""Limits hold for all processes together, as far as Redis lets them tell each other."""

import pytest

from support.faults.outages import process, without
from webapp.limits.buckets import Buckets, Rate
from webapp.limits.exchange import Exchange
from webapp.limits.shared_counts import SharedCounts
from wiring.process import Services

RATE = Rate(0.001, 100)


class Process:
    """The buckets of one process, which exchanges when it is told to."""

    def __init__(self, own: Services) -> None:
        tiers = own.tiers
        self._exchange = Exchange(SharedCounts(tiers.redis_door), tiers.instruments)
        self._buckets = self._exchange.add(Buckets("write", RATE, lambda: None))
        self.exchange = self._exchange.round

    def take(self, caller: str, count: int = 1) -> int:
        """How many are left after taking so many."""
        return [self._buckets.take(caller) for _ in range(count)][-1]


def test_a_process_hears_what_the_others_let_a_caller_take(alone: Services) -> None:
    one, other = Process(alone), Process(process(alone))
    for own in (one, other):
        own.take("alice", 10)
        own.take("bob", 1)
        own.exchange()
    assert one.take("alice", 20) == 70
    one.exchange()
    other.take("alice")
    other.exchange()
    assert other.take("alice") == 100 - 12 - 20
    one.take("alice")
    one.exchange()
    # Its own are not charged again.
    assert one.take("alice") == 100 - 32 - 11
    other.exchange()
    assert one.take("bob") == 98


def test_a_count_that_redis_lost_begins_anew(alone: Services) -> None:
    one, other = Process(alone), Process(process(alone))
    for own in (one, other):
        own.take("alice", 10)
        own.exchange()
    alone.tiers.redis_client.flushall()
    one.take("alice", 5)
    one.exchange()
    assert one.take("alice") == 84


def test_no_name_of_a_caller_is_in_redis(alone: Services, user: str) -> None:
    one = Process(alone)
    one.take(user, 10)
    one.exchange()
    names = [name for page in alone.tiers.redis_door.scan("limit:*") for name in page]
    assert len(names) == 1
    assert user not in names[0]
    assert 0 < alone.tiers.redis_client.ttl(names[0]) <= 30


@pytest.mark.parametrize("count", [10, 60])
def test_without_redis_each_process_counts_alone(alone: Services, count: int) -> None:
    one, other = (Process(without(alone, "redis")) for _ in range(2))
    for own in (one, other):
        assert own.take("alice", count) == 100 - count
        own.exchange()
    assert one.take("alice") == other.take("alice") == 99 - count
    assert one.take("alice", 100) == -1
