"""Each thing that happens is counted where it happens, once."""

from collections.abc import Callable

import pytest

from jobs.persist.drain import Drained
from storage.errors import NoTierAvailable
from storage.messages.posts import Draft
from storage.telemetry.counts import Counts
from support.faults.outages import without
from support.waiting import eventually
from wiring.process import Services


@pytest.fixture
def since(alone: Services) -> Callable[[], Counts]:
    """What was counted since the test began."""
    before = alone.tiers.instruments.counts()
    return lambda: Counts(alone.tiers.instruments.counts()).since(before)


def drafts(count: int) -> list[Draft]:
    return [Draft("user", f"number {at}", {}) for at in range(count)]


def value(own: Services, name: str, **labels: str) -> float:
    return own.tiers.instruments.registry.get_sample_value(f"threadkeep_{name}", labels) or 0.0


def test_what_is_acknowledged_carried_and_shipped_is_counted(
    alone: Services,
    user: str,
    since: Callable[[], Counts],
    drain: Callable[[], Drained],
) -> None:
    posted = alone.messages.post_batch(user, [("one", drafts(3)), ("two", drafts(2))])
    alone.messages.edit(
        user, posted[0][0].message.id, content="other", metadata=None, if_version=None
    )
    alone.messages.delete(user, posted[1][0].message.id, if_version=None)
    found = since()
    assert (found["acknowledged:redis"], found["writes"], found["refused"]) == (7, 3, 0)
    drain()
    assert since()["persisted"] == 7
    shipped = alone.jobs.replication.ship_all()
    assert since()["replicated"] == shipped.shipped >= 5
    assert value(alone, "acknowledged_total", tier="redis", kind="delete") >= 1


@pytest.mark.usefixtures("steady_lease")
def test_reads_are_counted_by_where_they_came_from(alone: Services, user: str) -> None:
    posted = alone.messages.post(user, "one", drafts(1)[0])
    before = value(alone, "read_seconds_count", source="redis")
    alone.failover.retrieval.get(user, posted.message.id)
    alone.failover.retrieval.page(user, "one", limit=5, cursor=None, order="desc")
    assert value(alone, "read_seconds_count", source="redis") == before + 2


def test_a_write_beside_redis_and_one_that_nobody_takes(alone: Services, user: str) -> None:
    own = without(alone, "redis")
    own.messages.post(user, "one", drafts(1)[0])
    found = Counts(own.tiers.instruments.counts())
    assert (found["acknowledged:postgresql"], found["failed_over"]) == (1, 1)
    assert found["acknowledged:redis"] == 0
    eventually(lambda: value(own, "breakers_open", tier="redis") == 1)
    assert value(own, "breaker_openings_total", tier="redis") == 1
    refused = without(alone, "redis", "database", "clickhouse")
    with pytest.raises(NoTierAvailable):
        refused.messages.post(user, "one", drafts(1)[0])
    found = Counts(refused.tiers.instruments.counts())
    assert (found["refused"], found["writes"]) == (1, 0)
    assert value(refused, "refused_total", kind="post", code="storage_unavailable") == 1
