"""Tickets in Redis: each gives its secret once, and what Redis has of it is of use to nobody."""

import pytest

from storage.errors import TierUnavailable
from storage.redis.tickets import Tickets
from support.faults.outages import without
from support.waiting import eventually
from wiring.process import Services

SECRET = b"a token of somebody's"


@pytest.fixture
def tickets(alone: Services) -> Tickets:
    return alone.tiers.tickets


def test_a_ticket_gives_its_secret_once(tickets: Tickets) -> None:
    one, other = tickets.issue(SECRET, 30), tickets.issue(SECRET, 30)
    assert one != other
    assert len(one) >= 43
    assert (tickets.redeem(one), tickets.redeem(one)) == (SECRET, None)
    assert tickets.redeem(other) == SECRET
    assert tickets.redeem("x") is None


def test_it_is_gone_after_its_time(tickets: Tickets) -> None:
    ticket = tickets.issue(SECRET, 1)
    eventually(lambda: not tickets._door.client.keys("ticket:*"))
    assert tickets.redeem(ticket) is None


def test_who_reads_redis_can_use_neither(tickets: Tickets) -> None:
    ticket = tickets.issue(SECRET, 30)
    client = tickets._door.client
    (name,) = client.keys("ticket:*")
    kept = client.get(name)
    assert ticket.encode() not in name
    assert ticket.encode() not in kept
    assert not any(part in kept for part in (b"token", b"some", SECRET[:4]))
    assert tickets.redeem(name.decode().removeprefix("ticket:")) is None
    # The same secret looks otherwise with another ticket.
    tickets.issue(SECRET, 30)
    assert len({client.get(each) for each in client.keys("ticket:*")}) == 2


def test_without_redis_there_are_none(alone: Services) -> None:
    ticket = alone.tiers.tickets.issue(SECRET, 30)
    out = without(alone, "redis").tiers.tickets
    with pytest.raises(TierUnavailable):
        out.issue(SECRET, 30)
    with pytest.raises(TierUnavailable):
        out.redeem(ticket)
    assert alone.tiers.tickets.redeem(ticket) == SECRET
