"""A dead letter that is tried again lands once, or stays."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import msgspec
import pytest

from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models import codec, ids
from storage.errors import NotFound, StillRefused, TierUnavailable
from storage.postgres import locks
from storage.redis import keys
from support.data.letters import (
    BAD,
    counted,
    only,
    queued,
    refused_message,
    refused_thread,
    row_of,
)
from support.data.samples import message, revised
from support.faults.refusing import refusing
from support.waiting import eventually
from wiring.process import Services


def test_a_replayed_message_is_evictable_and_only_then(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    index = keys.index(alone.tiers.redis.slot_of_thread(user, "t"), user, "t")
    with pytest.raises(StillRefused):
        service.replay(only(service).id, by="somebody")
    assert not alone.tiers.redis.is_evictable(one.id)
    assert alone.tiers.redis_client.ttl(index) == -1
    bad.close()
    service.replay(only(service).id, by="somebody")
    assert alone.tiers.redis.is_evictable(one.id)
    assert int(alone.tiers.redis_client.ttl(index)) > 0
    # The hot page knew it all along, and is as complete as it was.
    hot = alone.tiers.redis.page(user, "t", ids.LOWEST, ids.HIGHEST, "desc", 10)
    assert (hot.floor, hot.records) == (one.id, [(one.id, codec.encode(one))])


def test_what_is_refused_again_stays_with_the_new_reason(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    before = only(service)
    bad.close()
    with refusing(alone, f"user_id <> '{user}'") as name:
        for attempts in (2, 3):
            with pytest.raises(StillRefused) as caught:
                service.replay(before.id, by="somebody")
            assert caught.value.attempts == attempts
            assert name in caught.value.reason
            assert BAD not in caught.value.reason
    after = only(service)
    assert (after.id, after.attempts, after.refused_at) == (before.id, 3, before.refused_at)
    assert after.attempted_at is not None
    assert name in after.reason
    assert (row_of(alone, one), queued(alone, one)) == (None, 0)
    assert alone.failover.retrieval.get(user, one.id).message == one


def test_a_newer_version_wins_over_a_replayed_one(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    newer = revised(one)
    alone.tiers.redis.revise(newer, expected_version=1)
    assert drain().written == 1
    bad.close()
    assert not service.replay(only(service).id, by="somebody").written
    assert row_of(alone, one).version == 2
    assert counted(alone, user) == 1
    assert alone.failover.retrieval.get(user, one.id).message == newer


def test_a_newer_version_that_is_pending_stays_without_a_ttl(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    newer = revised(one)
    alone.tiers.redis.revise(newer, expected_version=1)
    bad.close()
    letter = only(service)
    assert service.replay(letter.id, by="somebody", record=codec.encode(one)).written
    assert alone.tiers.redis.message(one.id) == codec.encode(newer)
    assert not alone.tiers.redis.is_evictable(one.id)
    assert drain().written == 1
    assert counted(alone, user) == 1


def test_a_message_of_a_deleted_thread_is_not_brought_back(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    alone.threads.delete(user, "t")
    drain()
    bad.close()
    assert not service.replay(only(service).id, by="somebody").written
    assert row_of(alone, one) is None
    with pytest.raises(NotFound):
        alone.failover.retrieval.get(user, one.id)


def test_another_users_message_is_never_touched(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    write: Callable[..., int],
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    theirs = message("somebody-else-of-" + user, id=one.id, created_at=one.created_at)
    write(theirs)
    bad.close()
    with pytest.raises(StillRefused):
        service.replay(only(service).id, by="somebody")
    assert row_of(alone, one).user_id == theirs.user_id
    assert only(service).attempts == 2


def test_of_several_replays_at_once_one_finds_the_letter(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    bad.close()
    number = only(service).id

    def replay(_: int) -> str:
        try:
            return "written" if service.replay(number, by="somebody").written else "not written"
        except NotFound:
            return "gone"

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(replay, range(6))) == ["gone"] * 5 + ["written"]
    assert (queued(alone, one), counted(alone, user)) == (1, 1)


def test_a_replay_waits_for_the_drain_of_its_slot(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    # Two versions of a message, written at once, would count it twice.
    one = refused_message(alone, user, drain, bad)
    bad.close()
    number = only(service).id
    with ThreadPoolExecutor(1) as pool:
        with alone.tiers.job_engine.begin() as connection:
            locks.try_lock_slots(connection, [alone.tiers.redis.slot_of_message(one.id)])
            replay = pool.submit(service.replay, number, by="somebody")
            eventually(lambda: waiting_for_a_slot(alone))
            assert row_of(alone, one) is None
        assert replay.result(timeout=10).written


def waiting_for_a_slot(alone: Services) -> bool:
    """Whether somebody waits for an advisory lock."""
    query = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
    with alone.tiers.job_engine.connect() as connection:
        return bool(connection.exec_driver_sql(query).scalar_one())


def test_a_replay_waits_for_a_redis_that_can_settle_it(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    bad.close()
    before = only(service)
    gone = msgspec.structs.replace(alone.settings, redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(TierUnavailable):
        Services(gone).jobs.dead_letters.replay(before.id, by="somebody")
    assert row_of(alone, one) is None
    assert only(service) == before


def test_what_is_committed_stays_committed_where_redis_refuses_to_settle_it(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    bad.close()
    alone.tiers.redis_client.set(
        keys.pending(alone.tiers.redis.slot_of_message(one.id)), "no stream"
    )
    done = service.replay(only(service).id, by="somebody")
    assert (done.written, done.evictable) == (True, False)
    assert row_of(alone, one) is not None
    assert service.list(limit=10, cursor=None) == ([], None)


def test_a_thread_is_replayed_like_a_message(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    refused_thread(alone, user, drain, bad)
    letter = only(service)
    assert (letter.kind, letter.message_id, letter.thread_id) == ("thread", None, "t")
    key = keys.thread(alone.tiers.redis.slot_of_thread(user, "t"), user, "t")
    assert alone.tiers.redis_client.ttl(key) == -1
    bad.close()
    assert service.replay(letter.id, by="somebody").written
    row = alone.tiers.postgres.thread(user, "t")
    assert row is not None
    assert row.thread.title == "a title"
    assert int(alone.tiers.redis_client.ttl(key)) > 0
