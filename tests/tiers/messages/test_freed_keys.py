"""A key whose message is gone is free again: the repeat makes a message, once, in every tier."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from sqlalchemy import text

from jobs.persist.drain import Drained
from models.ids import Clock
from storage.errors import KeyReused, TierUnavailable
from storage.messages.posts import Draft
from storage.messages.repeats import made_before
from storage.resilience import budget
from support.faults.outages import listed, post, process, rows, without
from wiring.process import Services

pytestmark = pytest.mark.usefixtures("brought_home")


def delete_message(alone: Services, user: str, message_id: str) -> None:
    alone.messages.delete(user, message_id, if_version=None)


def delete_thread(alone: Services, user: str, _: str) -> None:
    alone.threads.delete(user, "t")


def make_thread_anew(alone: Services, user: str, _: str) -> None:
    alone.threads.delete(user, "t")
    alone.threads.create(user, "t", None, {})


DELETIONS = pytest.mark.parametrize("delete", [delete_message, delete_thread, make_thread_anew])


@DELETIONS
@pytest.mark.parametrize("is_drained", [False, True])
def test_a_repeat_after_a_deletion_makes_a_message(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    delete: Callable[[Services, str, str], None],
    is_drained: bool,
) -> None:
    first = post(alone, user, "a", "k")
    if is_drained:
        drain()
    delete(alone, user, first.message.id)
    if is_drained:
        drain()
    second, third = post(alone, user, "b", "k"), post(alone, user, "b", "k")
    assert second.message.id > first.message.id
    assert (second.message.content, second.repeated) == ("b", False)
    assert (third.message, third.repeated) == (second.message, True)
    assert listed(alone, user) == ["b"]
    drain()
    assert listed(alone, user) == ["b"]
    assert alone.threads.get(user, "t").message_count == 1


@DELETIONS
@pytest.mark.parametrize("out", [("redis",), ("database",), ("redis", "database")])
def test_it_does_so_while_tiers_are_out(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    delete: Callable[[Services, str, str], None],
    out: tuple[str, ...],
) -> None:
    first = post(alone, user, "a", "k")
    delete(alone, user, first.message.id)
    drain()
    alone.jobs.erasure.erase_deleted_threads()
    alone.jobs.replication.ship_all()
    own = without(alone, *out)
    second, third = post(own, user, "b", "k"), post(own, user, "b", "k")
    assert (second.message.content, second.repeated) == ("b", False)
    assert (third.message.id, third.repeated) == (second.message.id, True)
    alone.failover.handoff.replay()
    drain()
    alone.failover.redis_recovery.reconcile()
    again = post(alone, user, "b", "k")
    assert (again.message.id, again.repeated) == (second.message.id, True)
    assert [row[0] for row in rows(alone, user)] == [second.message.id]
    assert listed(alone, user) == ["b"]


@DELETIONS
def test_a_key_that_redis_has_forgotten_is_freed_in_postgresql(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    delete: Callable[[Services, str, str], None],
) -> None:
    first = post(without(alone, "redis"), user, "a", "k")
    alone.failover.redis_recovery.reconcile()
    delete(alone, user, first.message.id)
    drain()
    alone.tiers.redis_client.flushall()
    second = post(without(alone), user, "b", "k")
    assert not second.repeated
    alone.failover.redis_recovery.adopt()
    drain()
    third = post(without(alone, "redis"), user, "b", "k")
    assert (third.message.id, third.repeated) == (second.message.id, True)
    alone.jobs.erasure.erase_deleted_threads()
    assert [row[0] for row in rows(alone, user)] == [second.message.id]


@pytest.mark.parametrize("out", [(), ("redis",)])
def test_repeats_at_one_moment_make_one_message(
    alone: Services, user: str, drain: Callable[[], Drained], out: tuple[str, ...]
) -> None:
    first = post(alone, user, "a", "k")
    alone.threads.delete(user, "t")
    drain()
    processes = [without(alone, *out) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda own: post(own, user, "b", "k"), processes * 4))
    assert len({one.message.id for one in made}) == 1
    assert made[0].message.id != first.message.id
    assert [one.repeated for one in made].count(False) == 1
    drain()
    assert len(rows(alone, user)) == 1


def test_a_batch_posts_again_only_what_is_gone(alone: Services, user: str) -> None:
    drafts = [Draft("user", text, {}, text) for text in ("a", "b", "c")]
    ((_, gone, _),) = first = alone.messages.post_batch(user, [("t", drafts)])
    assert not isinstance(gone, KeyReused)
    alone.messages.delete(user, gone.message.id, if_version=None)
    drafts[2] = drafts[2]._replace(content="another")
    (again,) = alone.messages.post_batch(user, [("t", drafts)])
    assert not isinstance(first[0][0], KeyReused)
    assert not isinstance(again[0], KeyReused)
    assert not isinstance(again[1], KeyReused)
    assert (again[0].message.id, again[0].repeated) == (first[0][0].message.id, True)
    assert (again[1].message.content, again[1].repeated) == ("b", False)
    assert isinstance(again[2], KeyReused)
    assert listed(alone, user) == ["a", "c", "b"]


def test_what_is_deleted_under_a_hold_is_not_buried_by_a_repeat(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    first = post(alone, user, "a", "k")
    drain()
    alone.threads.delete(user, "t")
    second = post(alone, user, "b", "k")
    drain()
    assert [row[0] for row in rows(alone, user)] == [first.message.id, second.message.id]


@pytest.mark.parametrize("out", [(), ("redis",), ("redis", "database")])
def test_another_message_under_the_key_is_refused(
    alone: Services, user: str, out: tuple[str, ...]
) -> None:
    own = without(alone, *out)
    post(own, user, "a", "k")
    for draft in (
        Draft("user", "b", {}, "k"),
        Draft("agent", "a", {}, "k"),
        Draft("user", "a", {"n": 1}, "k"),
    ):
        with pytest.raises(KeyReused):
            own.messages.post(user, "t", draft)
    assert listed(own, user) == ["a"]


@pytest.mark.parametrize("out", [(), ("redis",)])
def test_it_is_refused_after_an_edit_by_who_did_not_take_it(
    alone: Services, user: str, out: tuple[str, ...], drain: Callable[[], Drained]
) -> None:
    own = without(alone, *out)
    first = post(own, user, "a", "k").message
    drain()
    own.messages.edit(user, first.id, content="edited", metadata=None, if_version=None)
    drain()
    other = process(own)
    for again in ("b", "edited"):
        with pytest.raises(KeyReused):
            post(other, user, again, "k")
    assert post(other, user, "a", "k").message.id == first.id
    assert listed(own, user) == ["edited"]


def test_what_a_freed_key_makes_by_a_clock_that_is_behind_stays(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    first = post(alone, user, "a", "k")
    drain()
    alone.messages.delete(user, first.message.id, if_version=None)
    drain()
    own = process(alone)
    own.tiers.clock = Clock(lambda: time.time_ns() - 500_000_000)
    second = post(own, user, "b", "k")
    assert second.message.id > first.message.id
    drain()
    alone.failover.redis_recovery.reconcile()
    assert listed(alone, user) == ["b"]


def test_redis_is_not_taught_what_a_key_made_that_has_made_more_since(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    first = post(alone, user, "a", "k")
    drain()
    without(alone, "redis").messages.delete(user, first.message.id, if_version=None)
    second = post(alone, user, "b", "k")
    alone.failover.redis_recovery.reconcile()
    # As if another run of Redis answered, which is told the newest keys.
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("UPDATE redis_state SET run_id = 'another'"))
    assert alone.failover.redis_recovery.adopt()
    third = post(alone, user, "b", "k")
    assert (third.message.id, third.repeated) == (second.message.id, True)
    assert listed(alone, user) == ["b"]


def test_who_has_no_time_left_is_not_told_what_somebody_else_made(
    alone: Services, user: str
) -> None:
    made = post(alone, user, "a", "k").message
    with budget.within(0.01), pytest.raises(TierUnavailable):
        asked = msgspec.structs.replace(made, content="b")
        made_before(alone.failover.retrieval, asked, made.id, lambda _: made.content_hash)
