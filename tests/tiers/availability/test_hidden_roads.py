"""Whatever is dropped between the log and the table leaves nothing behind that nobody owns, and no
other road brings back what is hidden."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from jobs.consistency.report import ConsistencyReport
from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models import codec, ids
from models.appends import Key
from models.message import Message
from storage.clickhouse.pages import Selection
from storage.messages.clickhouse_writes import DirectWrite
from storage.postgres import idempotency
from storage.redis import keys
from support.calls.erasing import finish, marker_of
from support.calls.streaming import append, opened
from support.data.everywhere import in_redis, places
from support.data.exporting import messages_of
from support.data.letters import only, refused_message
from support.data.samples import append_of, message, revised
from support.faults import damage
from support.faults.outages import post
from wiring.process import Services

Check = Callable[..., ConsistencyReport]
Drain = Callable[[], Drained]


@pytest.fixture
def deleted(alone: Services, user: str) -> Message:
    """A message whose thread was deleted and is erased everywhere."""
    made: Message = post(alone, user).message
    alone.jobs.drain_pipeline()
    alone.threads.delete(user, "t")
    erase_what_was_deleted(alone)
    return made


def test_a_message_of_an_erased_user(
    alone: Services, user: str, drain: Drain, check: Check
) -> None:
    post(alone, user, marker_of(user))
    # Whoever erases has not come to Redis yet.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alone.jobs.user_erasure._context.redis, "block_writes", lambda *_: None)
        alone.jobs.user_erasure.request(user, by="an admin")
    assert drain().written == 0
    assert places(alone, marker_of(user)) == set()
    assert finish(alone, user).state == "done"
    assert check(repair=True).differences == []


def test_a_version_that_is_older(
    alone: Services, user: str, drain: Drain, write: Callable[..., int], check: Check
) -> None:
    first = message(user, content=marker_of(user))
    alone.tiers.redis.append([append_of(first)], 60)
    newer = revised(first)
    write(newer)
    assert drain().written == 0
    alone.jobs.drain_pipeline()
    assert list(damage.everywhere(alone, first).values()) == [newer] * 3
    assert alone.tiers.redis.is_evictable(first.id)
    assert places(alone, marker_of(user)) == set()
    assert check().differences == []


@pytest.mark.usefixtures("brought_home")
def test_a_double_of_a_key(alone: Services, user: str, drain: Drain, check: Check) -> None:
    earlier, later = message(user, content=marker_of(user)), message(user)
    alone.failover.writes._postgres.append([append_of(later, key="k")])
    alone.tiers.redis.append([append_of(earlier, key="k")], 60)
    drain()
    alone.jobs.drain_pipeline()
    for copy in damage.everywhere(alone, earlier).values():
        assert copy is not None and copy.deleted_at is not None
    assert alone.tiers.redis.is_evictable(earlier.id)
    assert places(alone, marker_of(user)) == set()
    assert check().differences == []


def test_a_letter_that_was_discarded(
    alone: Services,
    user: str,
    drain: Drain,
    service: DeadLetterService,
    bad: ExitStack,
    check: Check,
) -> None:
    one = refused_message(alone, user, drain, bad)
    assert check().differences == []
    service.discard(only(service).id, by="somebody")
    assert list(damage.everywhere(alone, one).values()) == [None] * 3
    # With the copies that there were of the letter.
    alone.jobs.physical_erasure.purge()
    assert places(alone, one.content) == set()
    assert check().differences == []


def test_a_letter_of_a_thread_that_was_deleted(
    alone: Services,
    user: str,
    drain: Drain,
    service: DeadLetterService,
    bad: ExitStack,
    check: Check,
) -> None:
    one = refused_message(alone, user, drain, bad)
    alone.threads.delete(user, "t")
    drain()
    assert check().differences == []
    erase_what_was_deleted(alone)
    assert places(alone, one.content) == set()
    assert service.numbers() == []
    assert check(repair=True).differences == []


def test_a_message_that_was_being_streamed(
    alone: Services, user: str, drain: Drain, check: Check
) -> None:
    one = opened(alone, user)
    append(alone, user, one, marker_of(user))
    alone.threads.delete(user, "t")
    drain()
    assert not alone.tiers.redis_client.exists(
        keys.stream(alone.tiers.redis.slot_of_message(one.id), one.id)
    )
    assert places(alone, marker_of(user)) == set()
    assert check().differences == []


def test_a_message_with_a_key_leaves_the_key_free(alone: Services, user: str, drain: Drain) -> None:
    post(alone, user, "secret", "k")
    alone.threads.delete(user, "t")
    drain()
    with alone.tiers.job_engine.connect() as connection:
        assert idempotency.find(connection, [Key(user, "t", "k")], 60) == {}


def test_a_message_under_a_legal_hold_is_kept_for_it(
    alone: Services, user: str, drain: Drain, check: Check
) -> None:
    alone.jobs.retention_policies.set(user, None, legal_hold=True, by="an admin")
    post(alone, user, marker_of(user))
    alone.threads.delete(user, "t")
    drain()
    found = places(alone, marker_of(user))
    assert "postgresql: held_versions.content" in found
    assert not [place for place in found if place.startswith("redis")]
    assert check(repair=True).differences == []


@pytest.mark.usefixtures("brought_home")
def test_what_clickhouse_took_is_purged_once_more(
    alone: Services, user: str, deleted: Message, check: Check
) -> None:
    late = message(user, content=marker_of(user), time_us=ids.time_us_of(deleted.id) - 5)
    alone.failover.writes._clickhouse._insert([DirectWrite(late, codec.encode(late), "k")])
    alone.failover.handoff.replay()
    assert check(repair=True).differences == []
    erase_what_was_deleted(alone)
    assert places(alone, marker_of(user)) == set()
    assert check().differences == []


def test_what_went_with_its_thread_is_not_called_lost(
    alone: Services, user: str, drain: Drain
) -> None:
    made = post(alone, user).message.id
    alone.threads.delete(user, "t")
    drain()
    assert made not in [name for name, _ in alone.failover.loss_audit.lost()]


def test_nobody_is_told_late_of_what_was_deleted(alone: Services, user: str) -> None:
    alone.tiers.events.open([user])
    one = message(user, content=marker_of(user))
    alone.failover.writes._postgres.append([append_of(one)])
    alone.threads.delete(user, "t")
    alone.failover.redis_recovery.reconcile()
    assert [key for key in in_redis(alone, marker_of(user)) if "events" in key] == []


def test_an_export_has_nothing_of_a_user_who_is_being_erased(alone: Services, user: str) -> None:
    post(alone, user)
    alone.jobs.drain_pipeline()
    exporter = alone.jobs.exporter
    assert len(list(messages_of(exporter, Selection(user)))) == 1
    alone.jobs.user_erasure.request(user, by="an admin")
    assert list(messages_of(exporter, Selection(user))) == []
    assert finish(alone, user).state == "done"


def test_what_is_deleted_between_a_look_and_its_repair_is_not_put_back(
    alone: Services, user: str, check: Check
) -> None:
    made: Message = post(alone, user, marker_of(user)).message
    alone.jobs.drain_pipeline()
    damage.in_postgres(alone, "DELETE", made)
    damage.in_clickhouse(alone, "DELETE", made)
    repair = alone.jobs.consistency_checker._repair
    mend = repair.messages

    def too_late(*given: object) -> set[str]:
        alone.threads.delete(user, "t")
        erase_what_was_deleted(alone)
        return mend(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repair, "messages", too_late)
        check(repair=True)
    there = damage.everywhere(alone, made)
    assert (there["postgresql"], there["clickhouse"]) == (None, None)


def erase_what_was_deleted(alone: Services) -> None:
    """What the jobs of a day do."""
    alone.jobs.drain_pipeline()
    alone.jobs.erasure.erase_deleted_threads()
    alone.jobs.drain_pipeline()
    alone.jobs.physical_erasure.purge()
