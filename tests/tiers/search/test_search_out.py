"""Search while a tier is out: the others answer, and it says what may be missing."""

from collections.abc import Callable

import pytest

from jobs.persist.drain import Drained
from storage.messages.posts import Draft
from support.calls.disasters import carry_on
from support.calls.searching import expected, find, found, moved, spaced
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
    page = found(own, user, "melons")
    assert len(page.hits) == 2
    assert page.warning == "incomplete_clickhouse_unavailable"
    with moved(alone, [old]):
        page = found(own, user, "melons")
    assert [hit.message.id for hit in page.hits] == [new.id]
    assert page.warning == "incomplete_clickhouse_unavailable"


def test_without_clickhouse_rows_are_read_part_by_part_and_changes_are_right(
    alone: Services, user: str, drain: Callable[[], Drained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.search.service.FIRST_ROWS", 5)
    made = spaced(user, *((f"t{number % 3}", f"melons {number % 7}") for number in range(60)))
    alone.tiers.redis.append([append_of(one) for one in made], 60)
    alone.jobs.drain_pipeline()
    own = without(alone, "clickhouse")
    for query in ("melons", "melons 3", "mel* 6", "pears"):
        assert find(own, user, query) == expected(made, query)
    in_thread = [one for one in made if one.thread_id == "t1"]
    assert find(own, user, "melons", thread_id="t1") == expected(in_thread, "melons")
    assert find(own, user, "melons", role="tool") == []
    edited, deleted = made[3], made[10]
    own.messages.edit(user, edited.id, content="pears", metadata=None, if_version=None)
    own.messages.delete(user, deleted.id, if_version=None)
    rest = [one for one in made if one not in (edited, deleted)]
    for carry in (lambda: None, drain):
        carry()
        assert find(own, user, "melons 3") == expected(rest, "melons 3")
        assert find(own, user, "pears") == [edited.id]
    own.threads.delete(user, "t1")
    kept = [one for one in rest if one.thread_id != "t1"]
    assert find(own, user, "melons") == expected(kept, "melons")
    own.jobs.user_erasure.request(user, by="an admin")
    assert find(own, user, "melons") == []


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
