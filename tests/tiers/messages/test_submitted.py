"""A submitted post is acknowledged by Redis alone; whatever else comes of it is carried on with,
and the message is the same one."""

import time
from queue import SimpleQueue
from typing import Any

import pytest

from models import ids
from models.appends import IdTooOld, Stored
from models.caveats import Acknowledgement
from models.ids import Clock
from storage.errors import KeyReused, TierUnavailable
from storage.messages.posts import Draft
from storage.messages.storage_service import Submitted, Unsettled
from support.calls.counting import CallCounter
from support.calls.lanes import Lanes
from support.faults.outages import (
    believe_keys,
    believe_redis,
    listed,
    post,
    process,
    rows,
    without,
)
from support.waiting import eventually
from webapp.api.messages import UNSETTLED
from webapp.door.write_lane import LARGEST_BYTES
from webapp.limits.limits import TAKEN
from wiring.process import Services

MOST_CALLS = 310
AHEAD_NS = 60_000_000_000
BODY = b'{"message":"hello"}'


def submitted(own: Services, user: str, content: str = "hello", key: str | None = None) -> Any:
    came: SimpleQueue[Submitted] = SimpleQueue()
    own.messages.submit(user, "t", Draft("user", content, {}, key), came.put)
    return came.get(timeout=20)


def test_redis_acknowledges_it(alone: Services, user: str) -> None:
    done: Acknowledgement = submitted(alone, user)
    assert (done.tier_used, done.durability, done.repeated) == ("redis", "fsynced", False)
    assert done.degraded == (None, None)
    assert alone.tiers.redis.message(done.message.id) == done.record
    assert listed(alone, user) == ["hello"]


def test_without_redis_it_is_the_same_message_in_postgresql(alone: Services, user: str) -> None:
    own = without(alone, "redis")
    unsettled: Unsettled = submitted(own, user)
    assert isinstance(unsettled.answer, TierUnavailable)
    done = own.messages.settle(unsettled)
    assert (done.tier_used, done.durability) == ("postgresql", "committed")
    assert done.degraded == ("redis_unavailable", "degraded_performance_redis_unavailable")
    assert rows(alone, user) == [(unsettled.part.messages[0].id, 1, "hello")]


def test_behind_a_clock_that_is_ahead_it_is_minted_again(alone: Services, user: str) -> None:
    ahead = process(alone)
    vars(ahead.tiers)["clock"] = Clock(lambda: time.time_ns() + AHEAD_NS)
    newest = post(ahead, user, "first").message.id
    unsettled: Unsettled = submitted(alone, user, "second")
    assert unsettled.answer == IdTooOld(newest)
    done = alone.messages.settle(unsettled)
    assert ids.time_us_of(done.message.id) > ids.time_us_of(newest)
    assert listed(alone, user) == ["first", "second"]


def test_a_repeated_key_gives_the_first_message(alone: Services, user: str) -> None:
    believe_keys(alone)
    first = post(alone, user, "hello", "k")
    unsettled: Unsettled = submitted(alone, user, "hello", "k")
    assert unsettled.answer == Stored([first.message.id], False)
    done = alone.messages.settle(unsettled)
    assert (done.message.id, done.repeated) == (first.message.id, True)
    with pytest.raises(KeyReused):
        alone.messages.settle(submitted(alone, user, "another", "k"))
    assert listed(alone, user) == ["hello"]


def test_a_key_of_its_own_is_remembered(alone: Services, user: str) -> None:
    believe_keys(alone)
    done: Acknowledgement = submitted(alone, user, "hello", "k")
    assert post(alone, user, "hello", "k").message.id == done.message.id
    assert post(without(alone, "redis"), user, "hello", "other").message.id != done.message.id


@pytest.fixture
def lane(alone: Services) -> Lanes:
    return Lanes(alone)


def test_a_usual_post_is_answered(lane: Lanes, alone: Services, user: str) -> None:
    request = lane.request(user)
    assert lane.takes(request)
    status, headers, _ = request.answer()
    assert (status, headers["ETag"], headers["Content-Type"]) == (200, '"1"', "application/json")
    assert listed(alone, user) == ["hello"]


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"method": "GET"}, BODY),
        ({"path": "/api/threads/t/messages/"}, BODY),
        ({"path": "/api/threads/a b/messages"}, BODY),
        ({"query_string": "a=b"}, BODY),
        ({}, b'{"message":"' + b"x" * LARGEST_BYTES + b'"}'),
        ({}, b'{"message":"hello","durability":"committed"}'),
        ({}, b'{"message":""}'),
        ({}, b"{"),
    ],
)
def test_what_is_unusual_is_left_to_the_application(
    lane: Lanes, alone: Services, user: str, change: dict[str, str], body: bytes
) -> None:
    assert not lane.takes(lane.request(user, **change), body)
    assert listed(alone, user) == []


def test_while_redis_is_out_all_is_left_to_the_application(lane: Lanes, user: str) -> None:
    lane.services.tiers.breakers.redis.open("a test")
    assert not lane.takes(lane.request(user))
    eventually(lambda: lane.services.tiers.breakers.redis.is_closed)


def test_what_redis_did_not_simply_take_is_given_on(alone: Services, user: str) -> None:
    lane = Lanes(without(alone, "redis"))
    request = lane.request(user)
    assert lane.takes(request)
    given, body, more = lane.given.get(timeout=20)
    assert (given, body) == (request, BODY)
    # The token that was taken is not taken again.
    unsettled, left = more[UNSETTLED], more[TAKEN]
    assert isinstance(unsettled, Unsettled)
    assert 0 < left < 20_000


@pytest.mark.usefixtures("steady_lease")
def test_an_acknowledged_post_makes_few_calls(alone: Services, user: str) -> None:
    believe_redis(alone)
    with CallCounter() as calls:
        lane = Lanes(alone)
        # A process makes some things on first use.
        for _ in range(20):
            warm = lane.request(user)
            assert lane.takes(warm)
            warm.answer()
        eventually(lambda: lane.services.failover.lease.current().redis_complete)
        request = lane.request(user)
        calls.begin_own()
        lane.takes(request)
        calls.end_own()
        request.answer()
        calls.is_counting = False
    assert calls.of("redis-small") <= MOST_CALLS, calls.counts
