"""Search while a tier is out: the others answer, and it says what may be missing."""

from collections.abc import Callable

from jobs.persist.drain import Drained
from storage.messages.posts import Draft
from support.calls.disasters import carry_on
from support.calls.searching import find, found, moved, spaced
from support.data.samples import append_of, message
from support.faults.outages import without
from wiring.process import Services


def test_without_postgresql_the_others_answer_with_a_warning(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = [message(user, content="melons") for _ in range(3)]
    alone.tiers.redis.append([append_of(*made[:2])], 60)
    carry_on(alone)
    alone.tiers.redis.append([append_of(made[2])], 60)
    own = without(alone, "database")
    # The first to ask finds it out.
    found(own, user, "melons")
    page = found(own, user, "melons")
    assert [hit.message.id for hit in page.hits] == [one.id for one in reversed(made)]
    assert page.warning == "degraded_mode_postgresql_unavailable"
    own.messages.edit(user, made[0].id, content="lemons", metadata=None, if_version=None)
    own.messages.delete(user, made[1].id, if_version=None)
    assert find(own, user, "melons") == [made[2].id]
    assert find(own, user, "lemons") == [made[0].id]


def test_without_redis_the_others_answer_with_a_warning(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = [message(user, content="melons") for _ in range(2)]
    alone.tiers.redis.append([append_of(*made)], 60)
    drain()
    page = found(without(alone, "redis"), user, "melons")
    assert [hit.message.id for hit in page.hits] == [made[1].id, made[0].id]
    assert page.warning == "degraded_performance_redis_unavailable"


def test_without_clickhouse_only_the_archive_is_missed(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    old, new = spaced(user, ("t", "melons"), ("t", "melons"))
    for one in (old, new):
        alone.tiers.redis.append([append_of(one)], 60)
        carry_on(alone)
    own = without(alone, "clickhouse")
    assert len(found(own, user, "melons").hits) == 2
    with moved(alone, [old]):
        page = found(own, user, "melons")
    assert [hit.message.id for hit in page.hits] == [new.id]
    assert page.warning == "incomplete_clickhouse_unavailable"


def test_what_clickhouse_alone_took_is_found_and_its_changes_too(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made = [message(user, content="melons") for _ in range(2)]
    alone.tiers.redis.append([append_of(*made)], 60)
    drain()
    own = without(alone, "redis", "database")
    taken = own.messages.post(user, "t", Draft("user", "melons", {}, None))
    assert taken.tier_used == "clickhouse"
    half = without(alone, "redis")
    assert find(half, user, "melons") == [taken.message.id, made[1].id, made[0].id]
    own.messages.edit(user, taken.message.id, content="lemons", metadata=None, if_version=None)
    assert find(half, user, "melons") == [made[1].id, made[0].id]
    assert find(half, user, "lemons") == [taken.message.id]
    own.messages.edit(user, taken.message.id, content="melons", metadata=None, if_version=None)
    alone.jobs.drain_pipeline()
    assert find(alone, user, "melons") == [taken.message.id, made[1].id, made[0].id]
