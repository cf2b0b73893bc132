"""The threads that a process keeps for itself: none may die of what nobody foresaw."""

from functools import partial
from threading import Event, current_thread
from typing import get_args

from storage.telemetry.instruments import Thread
from support.faults.outages import post, process
from support.waiting import eventually
from webapp.limits.buckets import Buckets, Rate
from webapp.limits.exchange import Exchange
from webapp.limits.shared_counts import SharedCounts
from wiring.process import Services

COUNTER = "threadkeep_rounds_failed_total"
ROUNDS = 2
BUSY = 60
"""Posts of one caller, more than are forgotten before the end."""


def test_a_round_that_fails_is_counted_and_the_next_one_comes(alone: Services, user: str) -> None:
    own = process(alone, alert_webhook_url="http://127.0.0.1:1/", alert_webhook_secret="s" * 32)
    performance, failover = own.performance, own.failover.writes
    limits = Exchange(SharedCounts(own.tiers.redis_door), own.tiers.instruments)
    rate = Rate.of("1:100")
    assert rate is not None
    writes = limits.add(Buckets("write", rate, limits.begin))
    rounds = (
        (own.failover.lease, "_ask_tiers"),
        (failover.keys.watch, "_poll"),
        (performance._counting, "count"),
        (performance.monitor, "evaluate"),
        (performance.monitor._sink, "deliver_due"),
        (limits, "_share"),
    )

    def failed(thread: str) -> float:
        own.failover.lease.current()
        labels = {"thread": thread}
        return own.tiers.instruments.registry.get_sample_value(COUNTER, labels) or 0

    for owner, name in rounds:
        setattr(owner, name, fails)
    post(own, user, key="k")
    for _ in range(BUSY):
        writes.take(user)
    performance.begin(judges=True)
    try:
        for thread in get_args(Thread):
            eventually(lambda thread=thread: failed(thread) >= ROUNDS)  # type: ignore[misc]
    finally:
        ended: list[str] = []
        for owner, name in rounds:
            # Which ends it, as far as anybody can tell.
            setattr(owner, name, partial(_wait, ended))
        eventually(lambda: own.failover.lease.current() and len(ended) == len(rounds))


def fails(*_: object) -> None:
    raise RuntimeError("as nobody foresaw")


def _wait(ended: list[str], *_: object) -> None:
    ended.append(current_thread().name)
    Event().wait()
