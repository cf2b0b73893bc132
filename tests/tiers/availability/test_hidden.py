"""What was deleted before it was persisted is no difference, does not come back, leaves nothing.

Nobody drains but the test, so a message and the deletion of its thread always meet in one drain.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from jobs.consistency.report import ConsistencyReport
from jobs.persist.drain import Drained
from models.message import Message
from storage.errors import AlreadyExists, NotFound, VersionConflict
from storage.postgres import locks
from support.calls.erasing import marker_of
from support.checking import named
from support.data.everywhere import places
from support.data.records import make_thread
from support.data.samples import message
from support.faults import damage
from support.faults.outages import end_bypasses, post, without
from wiring.process import Services


@pytest.fixture
def dropped(alone: Services, user: str) -> Message:
    """A message that went with its thread before anybody had persisted it."""
    post(alone, user, "first")
    alone.jobs.drain_pipeline()
    made: Message = post(alone, user, marker_of(user)).message
    alone.threads.delete(user, "t")
    return made


@pytest.fixture
def left(alone: Services, dropped: Message) -> Message:
    """One whose hot copy was left behind for a while, as releases before this one did."""
    alone.jobs.drain_pipeline()
    damage.put_into_redis(alone, dropped)
    return dropped


def test_a_check_finds_nothing_wrong_and_a_repair_brings_nothing_back(
    alone: Services, user: str, dropped: Message, check: Callable[..., ConsistencyReport]
) -> None:
    assert check().differences == []
    assert check(repair=True).differences == []
    erase_what_was_deleted(alone)
    assert check(repair=True).differences == []
    is_gone(alone, user, dropped)


def test_the_drain_that_drops_it_leaves_no_copy(
    alone: Services, user: str, dropped: Message, drain: Callable[[], Drained]
) -> None:
    assert drain().written == 0
    assert places(alone, marker_of(user)) == set()
    assert list(alone.tiers.redis_client.scan_iter(match=f"*{dropped.id}*")) == []
    is_gone(alone, user, dropped)


@pytest.mark.parametrize("repair", [False, True])
def test_a_copy_that_is_left_is_no_difference_before_the_deletion_is_carried_out(
    alone: Services, left: Message, check: Callable[..., ConsistencyReport], repair: bool
) -> None:
    assert check(repair=repair).differences == []
    there = damage.everywhere(alone, left)
    assert (there["postgresql"], there["clickhouse"]) == (None, None)


def test_a_copy_that_is_left_after_that_is_named_and_goes(
    alone: Services, user: str, left: Message, check: Callable[..., ConsistencyReport]
) -> None:
    erase_what_was_deleted(alone)
    assert named(check()) == {(left.id, "resurrected_in_redis", "")}
    assert named(check(repair=True)) == {(left.id, "resurrected_in_redis", "repaired")}
    assert check().differences == []
    is_gone(alone, user, left)


def test_a_watermark_that_redis_alone_knows_hides(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    post(alone, user, "first")
    alone.jobs.drain_pipeline()
    lost = message(user, content=marker_of(user))
    damage.put_into_redis(alone, lost)
    assert {(lost.id, "missing_in_postgresql", "")} <= named(check())
    with alone.tiers.job_engine.connect() as other:
        # Another worker has all slots, and takes its time.
        locks.lock_slots(other, range(alone.settings.shards))
        alone.threads.delete(user, "t")
        assert check(repair=True).differences == []
        assert alone.tiers.postgres.watermark(user, "t") is None
        other.rollback()
    there = damage.everywhere(alone, lost)
    assert (there["postgresql"], there["clickhouse"]) == (None, None)


def erase_what_was_deleted(alone: Services) -> None:
    """What the jobs of a day do."""
    alone.jobs.erasure.erase_deleted_threads()
    alone.jobs.drain_pipeline()
    alone.jobs.physical_erasure.purge()


def is_gone(alone: Services, user: str, one: Message) -> None:
    """Nobody finds a thread, nor a message in it, however it is asked for, nor what it said."""
    page = alone.failover.retrieval.page(user, "t", limit=9, cursor=None, order="desc")
    assert page.messages == []
    with pytest.raises(NotFound):
        alone.threads.get(user, "t")
    with pytest.raises(NotFound):
        alone.failover.retrieval.get(user, one.id)
    assert places(alone, marker_of(user)) == set()


def test_a_deletion_that_redis_alone_knows_hides_what_is_found_below(
    alone: Services, user: str
) -> None:
    made: Message = post(alone, user).message
    alone.jobs.drain_pipeline()
    damage.drop_from_redis(alone, made, listed=False)
    alone.threads.delete(user, "t")
    with pytest.raises(NotFound):
        alone.failover.retrieval.get(user, made.id)


def test_a_page_that_was_read_before_a_deletion_does_not_warm(alone: Services, user: str) -> None:
    made: Message = post(alone, user, marker_of(user)).message
    alone.jobs.drain_pipeline()
    damage.drop_from_redis(alone, made, listed=False)
    alone.threads.delete(user, "t")
    # PostgreSQL has not heard of it.
    assert list(alone.failover.redis_recovery.warm(user)) == [0]
    assert alone.tiers.redis.message(made.id) is None
    with pytest.raises(NotFound):
        alone.threads.get(user, "t")


def test_asking_for_the_messages_of_a_deleted_thread_does_not_bring_it_back(
    alone: Services, user: str
) -> None:
    made: Message = post(alone, user).message
    alone.jobs.drain_pipeline()
    without(alone, "redis").threads.delete(user, "t")
    end_bypasses(alone)
    # Redis is told, and has an index that is complete nowhere.
    alone.failover.redis_recovery.reconcile()
    for _ in range(2):
        is_gone(alone, user, made)


def test_a_thread_that_was_opened_anew_shows_only_what_came_after(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    check: Callable[..., ConsistencyReport],
) -> None:
    post(alone, user, "first")
    alone.jobs.drain_pipeline()
    alone.threads.delete(user, "t")
    alone.jobs.drain_pipeline()
    new: Message = post(alone, user, "new").message
    before = alone.threads.get(user, "t")
    drain()
    alone.jobs.drain_pipeline()
    after = alone.threads.get(user, "t")
    assert (before.created_at, before.message_count) == (new.created_at, 1)
    assert (after.created_at, after.message_count) == (new.created_at, 1)
    assert check(repair=True).differences == []
    damage.in_postgres(alone, "DELETE", new)
    damage.drop_from_redis(alone, new)
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(
            text("UPDATE threads SET deleted_at = now(), message_count = 0 WHERE user_id = :u"),
            {"u": user},
        )
    check(repair=True)
    assert check().differences == []
    assert alone.threads.get(user, "t") == after
    page = alone.failover.retrieval.page(user, "t", limit=9, cursor=None, order="desc")
    assert page.messages == [new]


def test_what_was_written_beside_redis_after_a_deletion_is_counted_when_that_lands(
    alone: Services, user: str, check: Callable[..., ConsistencyReport]
) -> None:
    post(alone, user, "first")
    alone.jobs.drain_pipeline()
    alone.threads.delete(user, "t")
    beside = [post(without(alone, "redis"), user, text).message.id for text in ("second", "third")]
    end_bypasses(alone)
    alone.jobs.drain_pipeline()
    thread = alone.threads.get(user, "t")
    assert thread.message_count == 2
    page = alone.failover.retrieval.page(user, "t", limit=9, cursor=None, order="asc")
    assert [one.id for one in page.messages] == beside
    assert check().differences == []


def test_a_thread_whose_only_message_was_deleted_is_there_before_anybody_has_persisted_it(
    alone: Services, user: str
) -> None:
    made = post(alone, user, "first").message
    alone.messages.delete(user, made.id, if_version=None)
    for _ in range(2):
        # Who reads its page makes the index complete from the lowest id on.
        page = alone.failover.retrieval.page(user, "t", limit=9, cursor=None, order="asc")
        assert page.messages == []
        assert alone.threads.get(user, "t").message_count == 0


def test_a_thread_is_made_although_its_index_is_nothing_but_a_floor(
    alone: Services, user: str
) -> None:
    # As an import leaves it that brought only what is hidden.
    alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
    alone.threads.create(user, "t", "a title", {})
    assert alone.threads.get(user, "t").title == "a title"
    with pytest.raises(AlreadyExists):
        alone.threads.create(user, "t", None, {})


def test_a_thread_is_not_made_where_a_message_came_first(alone: Services, user: str) -> None:
    post(alone, user, "a", "k")
    with pytest.raises(VersionConflict):
        alone.tiers.redis.put_thread(make_thread(user), expected_version=0)
