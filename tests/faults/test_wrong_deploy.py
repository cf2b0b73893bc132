"""What was deployed wrongly is given nothing: it refuses to start, or is treated as out."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from selftest.bed.launching import StackFailed
from selftest.bed.stack import Testbed
from storage.redis import keys
from support.faults.trial import Trial
from support.waiting import eventually

pytestmark = pytest.mark.extensive

Loaded = Callable[..., AbstractContextManager[Trial]]
Beds = Callable[..., AbstractContextManager[Testbed]]


@contextmanager
def foreign(bed: Testbed) -> Iterator[None]:
    """The Redis behind the address is now somebody else's."""
    client = bed.services.tiers.redis_client
    own = client.get(keys.INSTALLATION)
    client.set(keys.INSTALLATION, "somebody-elses")
    try:
        yield
    finally:
        client.set(keys.INSTALLATION, own)


@contextmanager
def evicting(bed: Testbed) -> Iterator[None]:
    """The Redis may now evict what is nowhere else yet."""
    client = bed.services.tiers.redis_client
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        yield
    finally:
        client.config_set("maxmemory-policy", "volatile-lru")


@pytest.mark.parametrize("wrong", [foreign, evicting])
def test_f46_a_redis_that_comes_back_wrong_is_given_nothing(
    bed: Testbed, load: Loaded, wrong: Callable[[Testbed], AbstractContextManager[None]]
) -> None:
    with load() as trial:
        with wrong(bed):
            # Its connections go, as they do when another server takes over an address.
            trial.breaks("redis-data reset")
            trial.wait_for_tier("postgresql", 20, since=trial.fault_began)
            eventually(lambda: _gets_nothing(trial), 10)
        trial.wait_for_tier("redis", 20, since=trial.now())


def _gets_nothing(trial: Trial) -> bool:
    """Whether Redis takes none of the next writes; a process may still be finding out."""
    began = trial.now()
    trial.wait_for_tier("postgresql", 20, since=began)
    return "redis" not in trial.since(began).acknowledged


def test_f46_a_redis_of_another_installation_stops_the_start(bed: Testbed, own_bed: Beds) -> None:
    with (
        pytest.raises(StackFailed, match="refused: redis: installation"),
        own_bed(REDIS_URL=bed.direct_env["REDIS_URL"]),
    ):
        pytest.fail("it started")


def test_f46_a_sample_secret_stops_the_start(own_bed: Beds) -> None:
    secret = "changeme-changeme-changeme-changeme"
    with (
        pytest.raises(StackFailed, match=r"refused: .*THREADKEEP_JWT_SECRET") as failure,
        own_bed(THREADKEEP_JWT_SECRET=secret),
    ):
        pytest.fail("it started")
    assert secret not in str(failure.value)
