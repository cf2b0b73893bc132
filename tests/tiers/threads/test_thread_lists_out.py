"""The list of threads while a tier is out, and right after."""

import pytest

from storage.errors import NoTierAvailable
from storage.redis import keys
from support.data.thread_lists import Drain, begin_whole, figures, page, post
from support.faults.outages import end_bypasses, without
from support.waiting import eventually
from wiring.process import Services


@pytest.fixture(autouse=True)
def nobody_writes_beside_redis(alone: Services) -> None:
    begin_whole(alone)


def test_without_postgresql_redis_shows_what_it_knows(
    alone: Services, user: str, drain: Drain
) -> None:
    lost = without(alone, "database")
    with pytest.raises(NoTierAvailable):
        page(lost, user)
    for name in ("a", "b", "c"):
        post(alone, user, name, f"in {name}")
    alone.threads.create(user, "d", "titled", {})
    drain()
    page(alone, user)
    post(alone, user, "a", "newer")
    alone.threads.delete(user, "b")
    post(alone, user, "e", "first")
    found = page(lost, user)
    assert found.warning == "degraded_mode_postgresql_unavailable"
    assert figures(found) == [
        ("e", 1, "first"),
        ("a", 2, "newer"),
        ("d", 0, None),
        ("c", 1, "in c"),
    ]
    assert found.threads[2].title == "titled"
    # A part that nobody asked for before is made of what there is.
    part = page(lost, user, limit=2)
    assert [summary.id for summary in part.threads] == ["e", "a"]
    rest = page(lost, user, limit=2, cursor=part.following)
    assert [summary.id for summary in rest.threads] == ["d", "c"]
    assert page(alone, user).threads == found.threads


def test_without_redis_postgresql_answers(alone: Services, user: str, drain: Drain) -> None:
    post(alone, user, "t", "committed")
    drain()
    found = page(without(alone, "redis"), user)
    assert found.warning == "degraded_performance_redis_unavailable"
    assert figures(found) == [("t", 1, "committed")]
    with pytest.raises(NoTierAvailable):
        page(without(alone, "redis", "database"), user)


def test_right_after_an_outage_of_redis_no_page_hides_what_was_written_beside_it(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "before")
    drain()
    page(alone, user)
    assert page(alone, user).source == "redis"
    other = without(alone, "redis")
    post(other, user, "t", "meanwhile")
    post(other, user, "u", "new")
    wanted = [("u", 1, "new"), ("t", 2, "meanwhile")]
    # Redis has not been told yet, and a page that is read now is no better than the one before.
    for _ in range(2):
        found = page(Services(alone.settings), user)
        assert (figures(found), found.source) == (wanted, "postgresql")
    post(alone, user, "t", "after")
    assert figures(page(Services(alone.settings), user)) == [("t", 3, "after"), ("u", 1, "new")]
    drain()
    alone.failover.redis_recovery.reconcile()
    end_bypasses(alone)
    fresh = Services(alone.settings)
    for _ in range(2):
        assert figures(page(fresh, user)) == [("t", 3, "after"), ("u", 1, "new")]
    eventually(lambda: page(fresh, user).source == "redis")


def test_a_redis_that_lost_its_last_moments_shows_no_page_from_before(
    alone: Services, user: str, drain: Drain
) -> None:
    post(alone, user, "t", "one")
    drain()
    page(alone, user)
    before = alone.tiers.redis_client.dump(keys.thread_pages(user))
    post(alone, user, "t", "two")
    drain()
    # As one that was promoted without the end: the page is there again, with its generation.
    alone.tiers.redis_client.restore(keys.thread_pages(user), 600_000, before, replace=True)
    with alone.tiers.job_engine.begin() as connection:
        connection.exec_driver_sql("UPDATE redis_state SET run_id = 'the one before'")
    fresh = Services(alone.settings)
    assert figures(page(fresh, user)) == [("t", 2, "two")]
    alone.tiers.redis_client.restore(keys.thread_pages(user), 600_000, before, replace=True)
    alone.failover.redis_recovery.adopt()
    assert figures(page(Services(alone.settings), user)) == [("t", 2, "two")]
