"""The worker killed or frozen: messages wait in the log, and no task is needed to carry them."""

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from redis import Redis

from selftest.stack import Testbed
from support.api import Api, ok
from support.pending import entries
from support.quickness import p95_ms
from support.trial import Trial
from support.users import fresh_user
from support.waiting import eventually
from tasks import queues

Loaded = Callable[..., AbstractContextManager[Trial]]

BROKER_PREFIX = "celery:"
CARRIED_SECONDS = 5.0
ACKNOWLEDGED_MS = 100.0


def tasks_in_broker(broker: Redis) -> int:
    """How many tasks a worker that starts could still be given."""
    waiting = sum(broker.llen(f"{BROKER_PREFIX}{name}") for name in queues.ALL)  # type: ignore[misc]
    return int(waiting) + int(broker.hlen(f"{BROKER_PREFIX}unacked"))  # type: ignore[arg-type]


def test_f7_the_worker_dies_with_the_only_task_in_its_hands(bed: Testbed, load: Loaded) -> None:
    """A frozen worker is handed the wake-up and dies of it. Beat, frozen too, sends no other; all
    clients write to one thread, so that the flag lets none of them send one."""
    with (
        Redis.from_url(bed.direct_env["CELERY_BROKER_URL"]) as broker,
        load(users=1, writers=6) as trial,
    ):
        with trial.broken("beat frozen"), trial.broken("worker frozen"):
            trial.wait_for_more(40)
            held = {entry.entry_id for entry in entries(bed.services)}
            assert held
            broker.flushall()
            before = bed.kill("worker")
            bed.wait_until_back("worker", before)
            eventually(lambda: not held & waiting(bed), CARRIED_SECONDS)
            assert tasks_in_broker(broker) == 0


def waiting(bed: Testbed) -> set[str]:
    return {entry.entry_id for entry in entries(bed.services)}
