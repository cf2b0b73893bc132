"""Several tiers out at once: the last one left takes the writes, and brings them home."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest

from selftest.bed.stack import Testbed
from storage.clickhouse import direct_writes
from support.faults.trial import Trial

Loaded = Callable[..., AbstractContextManager[Trial]]


def test_f36_redis_and_postgresql_are_out(bed: Testbed, load: Loaded) -> None:
    # What is repeated at such a moment, often through another process, is the hardest of it.
    with load(repeat_share=0.3) as trial:
        with trial.broken("postgres frozen"), trial.broken("redis-data refused"):
            trial.calm(2.5)
            began = trial.fault_began
            trial.wait_for_tier("clickhouse", 20, since=began)
            assert direct_writes.count_direct_writes(bed.services.tiers.job_clickhouse) > 0
        trial.calm(2)
    assert direct_writes.count_direct_writes(bed.services.tiers.job_clickhouse) == 0


@pytest.mark.extensive
def test_f37_all_three_tiers_are_out(load: Loaded) -> None:
    """Nothing is acknowledged, and everybody is told so within five seconds."""
    with load() as trial:
        with ExitStack() as out:
            for tier in ("redis-data", "postgres", "clickhouse"):
                out.enter_context(trial.broken(f"{tier} frozen"))
            trial.calm(4)
            began = trial.fault_began + 4
            trial.calm(3)
            meanwhile = trial.since(began)
            assert sum(meanwhile.acknowledged.values()) == 0
            assert meanwhile.unavailable > 0
            assert meanwhile.slowest_ms < 5000
        trial.calm(2)


@pytest.mark.extensive
@pytest.mark.parametrize("fault", ["clickhouse frozen", "clickhouse refused", "clickhouse killed"])
def test_f38_clickhouse_is_out_while_messages_come(bed: Testbed, load: Loaded, fault: str) -> None:
    """PostgreSQL keeps the rows, nobody waits, and the outbox ships by itself afterwards."""
    with load() as trial:
        meanwhile = trial.breaks(fault, 5)
        assert meanwhile.unavailable == 0
        assert set(meanwhile.acknowledged) == {"redis"}
        trial.calm(1)
