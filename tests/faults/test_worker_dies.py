"""The worker killed or frozen: messages wait in the log, and no task is needed to carry them."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from selftest.bed.stack import Testbed
from support.calls.api import ok
from support.calls.clients import api_of
from support.data.pending import entries
from support.data.quickness import stays_quick
from support.faults.trial import Trial
from support.waiting import eventually

Loaded = Callable[..., AbstractContextManager[Trial]]

CARRIED_SECONDS = 30.0
OUTAGE_SECONDS = 8.0


def waiting(bed: Testbed) -> set[str]:
    return {entry.entry_id for entry in entries(bed.services)}


def test_f07_the_worker_dies_with_the_tasks_in_its_hands(bed: Testbed, load: Loaded) -> None:
    """A frozen worker is handed wake-ups and dies of it. No task reaches the next one: beat is
    frozen, and the broker refuses everybody. Its own look must find the log."""
    with load() as trial, trial.broken("beat frozen"), trial.broken("worker frozen"):
        trial.wait_for_more(20)
        with trial.broken("redis-broker refused"):
            held = waiting(bed)
            assert held
            bed.wait_until_back("worker", bed.kill("worker"))
            eventually(lambda: not held & waiting(bed), CARRIED_SECONDS)


@pytest.mark.extensive
def test_f08_all_workers_are_dead(bed: Testbed, load: Loaded) -> None:
    """Eight seconds stand for ten minutes."""
    with load() as trial:
        with trial.broken("worker frozen"):
            trial.calm(OUTAGE_SECONDS / 2)
            half = len(waiting(bed))
            trial.calm(OUTAGE_SECONDS / 2)
            assert len(waiting(bed)) > half > 0
            redis = ok(api_of(bed).get("/health/persistence"))["tiers"]["redis"]
            assert redis["waiting"] > half
            assert redis["oldest_waiting_seconds"] > OUTAGE_SECONDS - 1
            held = waiting(bed)
            meanwhile = trial.since(trial.fault_began)
            assert meanwhile.acknowledged.keys() == {"redis"}
            assert meanwhile.unavailable == 0
            stays_quick(trial, "create")
        eventually(lambda: not held & waiting(bed), CARRIED_SECONDS)
