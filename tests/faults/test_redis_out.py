"""Redis killed, frozen or silent: writes go elsewhere at once, and come back afterwards."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from support.trial import Trial

Loaded = Callable[..., AbstractContextManager[Trial]]


def test_f12_redis_is_killed_and_comes_back_with_its_data(load: Loaded) -> None:
    with load() as trial:
        for _ in range(2):
            trial.breaks("redis-data killed")
            trial.calm()


def test_f15_redis_is_frozen(load: Loaded) -> None:
    with load() as trial:
        with trial.broken("redis-data frozen"):
            trial.calm(5)
            meanwhile = trial.since(trial.fault_began + 1)
            assert meanwhile.unavailable == 0
            assert meanwhile.acknowledged.get("postgresql", 0) > 50
            assert meanwhile.slowest_ms < 1000
        trial.calm(2)
        assert trial.since(trial.fault_began + 6.5).acknowledged.get("redis", 0) > 0


def test_f18_redis_takes_a_write_and_the_answer_is_lost(load: Loaded) -> None:
    with load() as trial:
        for _ in range(3):
            trial.breaks("redis-data reply lost", 1.0)
