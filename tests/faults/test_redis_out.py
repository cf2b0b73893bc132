"""Redis killed, frozen, refused, silent or slow: writes go elsewhere at once, and come back.

Outages last seconds here, not minutes: nothing in the store waits longer than a few
seconds for anything, so a longer outage shows nothing that these do not.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec
import pytest
from celery import Celery
from redis import Redis

from selftest.bed.proxy import FaultProxy
from selftest.bed.stack import Testbed
from selftest.faults.disturbance import Disturbance, End, cut_off
from selftest.load.samples import figures
from selftest.record.client import RecordingClient
from support.data.quickness import timely
from support.faults.trial import Trial
from support.waiting import eventually
from tasks import queues

Loaded = Callable[..., AbstractContextManager[Trial]]

CONSUMES_AGAIN_SECONDS = 15
SLOW_CALLS = "3 calls in a row took over 150 ms"


def slow(seconds: float) -> Disturbance:
    """Redis answers later by so many seconds."""

    def delay(proxy: FaultProxy) -> None:
        proxy.latency(seconds)

    name = f"answers {seconds:g} s later"
    return cut_off("redis-data", name, "each of its replies is held back", (1, 5), delay)


def both_blackholed() -> Disturbance:
    """Neither the data Redis nor the broker gets or gives a byte, and no connection is closed."""

    def begin(bed: Testbed) -> End:
        proxies = [bed.proxies["redis-data"], bed.proxies["redis-broker"]]
        for proxy in proxies:
            proxy.blackhole()

        def end() -> None:
            for proxy in proxies:
                proxy.pass_through()

        return end

    return Disturbance("both blackholed", "redis-data", "bytes vanish", (1, 8), begin)


def post(client: RecordingClient, key: str) -> dict[str, str]:
    body = msgspec.json.encode({"message": key})
    path = "/api/threads/by-key/messages"
    answer = client.call("POST", path, body, {"Idempotency-Key": key})
    assert answer.status == 200, answer.body
    return dict(answer.json())


def assert_taken_by_postgresql(trial: Trial, after_seconds: float) -> None:
    """From so many seconds into the fault on no new message was refused, and none was late."""
    since = trial.fault_began + after_seconds
    trial.wait_for_tier("postgresql", 20, since)
    assert trial.posts_since(since).unavailable == 0
    posts = [each for each in trial.samples if each.began >= since and each.verb == "create"]
    assert figures(timely(trial, posts)).slowest_ms < 1000


def test_f12_redis_is_killed_and_comes_back_with_its_data(load: Loaded) -> None:
    with load() as trial:
        for _ in range(2):
            trial.breaks("redis-data killed")
            trial.calm(1)


def test_f15_redis_is_frozen(load: Loaded) -> None:
    with load() as trial:
        with trial.broken("redis-data frozen"):
            trial.calm(3)
            assert_taken_by_postgresql(trial, after_seconds=1)
        trial.wait_for_more(10, "redis")


@pytest.mark.extensive
def test_f16_redis_is_refused(load: Loaded, bed: Testbed) -> None:
    with load() as trial:
        client = bed.client("f16")
        first = post(client, "before")["id"]
        trial.calm(1)
        with trial.broken("redis-data refused"):
            trial.calm(8)
            assert_taken_by_postgresql(trial, after_seconds=1)
            beside = post(client, "beside")
            assert (beside["tier_used"], beside["durability"]) == ("postgresql", "committed")
            assert post(client, "before")["id"] == first
        trial.wait_until_redis_is_believed()
        assert post(client, "after")["tier_used"] == "redis"
        # PostgreSQL is not asked about keys any more: Redis must have learnt this one.
        assert post(client, "beside")["id"] == beside["id"]
        client.close()
    answers = trial.traffic.account.answers
    beside_redis = {each.durability for each in answers if each.tier_used == "postgresql"}
    assert beside_redis == {"committed"}


@pytest.mark.extensive
def test_f17_redis_and_the_broker_are_silent(load: Loaded, bed: Testbed) -> None:
    with load() as trial:
        with trial.broken(both_blackholed()):
            trial.calm(8)
            assert_taken_by_postgresql(trial, after_seconds=1.5)
        assert_consumes(bed)


def assert_consumes(bed: Testbed) -> None:
    """The worker takes a task from the broker soon, beside what it finds by its own look."""
    url = bed.direct_env["CELERY_BROKER_URL"]
    prefix = "celery:"
    options = {"broker_transport_options": {"global_keyprefix": prefix}}
    with Celery(broker=url, changes=options, set_as_current=False) as sender:
        sender.send_task("persist.sweep", queue=queues.PERSIST)
    with Redis.from_url(url) as broker:
        # What stands in the queue now can be taken away by a consuming worker only.
        eventually(lambda: broker.llen(prefix + queues.PERSIST) == 0, CONSUMES_AGAIN_SECONDS)


def test_f18_redis_takes_a_write_and_the_answer_is_lost(load: Loaded) -> None:
    with load() as trial:
        for _ in range(3):
            trial.breaks("redis-data reply lost", 0.7)


@pytest.mark.extensive
@pytest.mark.parametrize("seconds", [0.2, 2.0])
def test_f19_redis_is_slow(load: Loaded, seconds: float) -> None:
    with load() as trial:
        with trial.broken(slow(seconds)):
            trial.calm(6)
            assert_taken_by_postgresql(trial, after_seconds=2)
        if seconds < 0.25:
            assert SLOW_CALLS in trial.said("web")
        trial.wait_for_more(20, "redis")
