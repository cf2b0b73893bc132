"""What every write to Redis of a versioned record must do, be it a message, a thread or a state."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models import codec, ids
from storage.errors import NotFound, TierRejected, VersionConflict
from storage.redis import keys
from storage.redis.records import ErasedSince
from support.data.pending import entries
from support.data.pending import put as put_entries
from support.data.records import KINDS, Subject
from support.data.samples import CLOCK
from wiring.process import Services


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def subject(request: pytest.FixtureRequest, alone: Services, user: str) -> Subject:
    return Subject(alone, request.param, user)


def test_a_version_is_logged_and_wakes_one_worker(subject: Subject) -> None:
    assert subject.put(subject.first, 0)
    assert not subject.put(subject.version(2), 1)
    assert subject.hot() == subject.version(2)
    assert subject.ttl() == -1
    logged = [(one.slot, one.kind, subject.kind.decode(one.record)) for one in entries(subject.own)]
    assert logged == [
        (subject.slot, subject.kind.name, subject.version(number)) for number in (1, 2)
    ]


def test_a_version_that_rests_on_another_is_refused(subject: Subject) -> None:
    subject.put(subject.first, 0)
    for number in (0, 2):
        with pytest.raises(VersionConflict) as caught:
            subject.put(subject.version(number + 1), number)
        assert subject.kind.decode(caught.value.current) == subject.first
    assert subject.hot() == subject.first
    assert len(entries(subject.own)) == 1


def test_a_version_may_rest_on_one_that_has_left_redis(subject: Subject) -> None:
    assert subject.put(subject.version(8), 7)
    assert subject.hot() == subject.version(8)


@pytest.mark.parametrize("is_hot", [False, True])
def test_nothing_is_written_of_who_was_erased_since(subject: Subject, is_hot: bool) -> None:
    if is_hot:
        subject.put(subject.first, 0)
    mark = keys.erased(subject.slot, subject.user)
    subject.own.tiers.redis_client.set(mark, ids.highest(CLOCK.now_us() + 1_000_000))
    with pytest.raises((NotFound, ErasedSince)):
        subject.put(subject.version(1 + is_hot), int(is_hot))
    assert len(entries(subject.own)) == is_hot
    assert subject.hot() == (subject.first if is_hot else None)


def test_what_comes_after_an_erasure_is_written(subject: Subject) -> None:
    mark = keys.erased(subject.slot, subject.user)
    subject.own.tiers.redis_client.set(mark, ids.highest(CLOCK.now_us() - 60_000_000))
    subject.put(subject.first, 0)
    assert subject.hot() == subject.first


def test_a_write_fails_whole(subject: Subject) -> None:
    subject.put(subject.first, 0)
    log = keys.pending(subject.slot)
    subject.own.tiers.redis_client.delete(log)
    subject.own.tiers.redis_client.set(log, "in the way")
    with pytest.raises(TierRejected):
        subject.put(subject.version(2), 1)
    assert subject.hot() == subject.first


def test_what_is_committed_may_be_evicted(subject: Subject, drain: Callable[[], Drained]) -> None:
    subject.put(subject.first, 0)
    subject.put(subject.version(2), 1)
    drained = drain()
    assert (drained.entries, drained.refused) == (2, 0)
    assert subject.committed() == 2
    assert entries(subject.own) == []
    assert subject.hot() == subject.version(2)
    assert 0 < subject.ttl() <= subject.own.settings.hot_seconds


def test_a_later_version_that_is_pending_stays(
    subject: Subject, drain: Callable[[], Drained], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.put(subject.first, 0)
    settle = subject.own.tiers.pending_log.settle

    def late(batches: Any) -> int:
        subject.put(subject.version(2), 1)
        return settle(batches)

    with monkeypatch.context() as patch:
        patch.setattr(subject.own.tiers.pending_log, "settle", late)
        subject.own.jobs.persistence.drain([subject.slot])
    assert (subject.committed(), subject.ttl()) == (1, -1)
    drain()
    assert subject.committed() == 2
    assert subject.ttl() > 0


def test_an_older_version_that_comes_again_changes_nothing(
    subject: Subject, drain: Callable[[], Drained]
) -> None:
    subject.put(subject.first, 0)
    old = entries(subject.own)
    subject.put(subject.version(2), 1)
    drain()
    put_entries(subject.own, [*old, *old])
    assert drain().refused == 0
    assert (subject.committed(), entries(subject.own)) == (2, [])
    assert subject.hot() == subject.version(2)
    assert subject.ttl() > 0


def test_a_version_committed_beside_redis_is_taken_where_it_is_newer(subject: Subject) -> None:
    subject.kind.refresh(subject.own, subject.version(2))
    assert subject.hot() == (subject.version(2) if subject.kind.is_cached else None)
    subject.own.tiers.redis_client.delete(subject.key)
    subject.put(subject.version(4), 3)
    for number in (3, 4):
        subject.kind.refresh(subject.own, subject.version(number))
        assert (subject.hot(), subject.ttl()) == (subject.version(4), -1)
    subject.kind.refresh(subject.own, subject.version(5))
    assert subject.hot() == subject.version(5)
    assert 0 < subject.ttl() <= subject.own.settings.hot_seconds


def test_a_refused_version_stays_until_it_is_written(
    subject: Subject, drain: Callable[[], Drained], service: DeadLetterService
) -> None:
    with subject.refusing():
        subject.put(subject.bad(), 0)
        assert drain().refused == 1
    assert (subject.committed(), subject.hot(), subject.ttl()) == (None, subject.bad(), -1)
    (letter,), _ = service.list(limit=9, cursor=None)
    assert (letter.kind, letter.slot, letter.user_id) == (
        subject.kind.name,
        subject.slot,
        subject.user,
    )
    done = service.replay(letter.id, by="test")
    assert (done.written, done.evictable, subject.committed()) == (True, True, 1)
    assert subject.ttl() > 0


def test_a_repaired_version_takes_the_place_of_the_refused_one(
    subject: Subject, drain: Callable[[], Drained], service: DeadLetterService
) -> None:
    with subject.refusing():
        subject.put(subject.bad(), 0)
        drain()
        (letter,), _ = service.list(limit=9, cursor=None)
        assert service.replay(letter.id, by="test", record=codec.encode(subject.first)).written
    assert (subject.committed(), subject.hot()) == (1, subject.first)
    assert subject.ttl() > 0


@pytest.mark.parametrize("is_newest", [False, True])
def test_a_version_that_is_given_up_goes_alone(
    subject: Subject, drain: Callable[[], Drained], service: DeadLetterService, is_newest: bool
) -> None:
    with subject.refusing():
        subject.put(subject.bad(), 0)
        drain()
    if not is_newest:
        subject.put(subject.version(2), 1)
    (letter,), _ = service.list(limit=9, cursor=None)
    assert service.discard(letter.id, by="test").removed_from_redis == is_newest
    assert subject.hot() == (None if is_newest else subject.version(2))
    assert subject.ttl() == (-2 if is_newest else -1)
