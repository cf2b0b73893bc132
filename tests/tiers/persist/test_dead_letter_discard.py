"""What is given up is nowhere any more, and nothing else goes with it."""

from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import pytest

from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models import codec
from models.message import Message
from storage.errors import NotFound, TierUnavailable
from storage.redis import keys
from support.data.letters import (
    listed,
    only,
    refused_message,
    refused_thread,
)
from support.data.moving import archived
from support.data.samples import append_of, message, revised
from support.faults.refusing import refusing
from wiring.process import Services


def test_a_discarded_message_is_nowhere(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    assert listed(alone, user) == [one.id]
    letter = only(service)
    assert service.discard(letter.id, by="somebody").removed_from_redis
    assert listed(alone, user) == []
    for look in (alone.failover.retrieval.get, alone.receipts.receipt):
        with pytest.raises(NotFound):
            look(user, one.id)
    with pytest.raises(NotFound):
        alone.threads.get(user, "t")
    with pytest.raises(NotFound):
        service.discard(letter.id, by="somebody")
    # Not a key is left of it.
    assert [key for key in alone.tiers.redis_client.keys("*") if one.id.encode() in key] == []


def test_a_discard_leaves_the_neighbours_and_lets_them_expire(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    before = message(user)
    alone.tiers.redis.append([append_of(before)], 60)
    refused_message(alone, user, drain, bad)
    index = keys.index(alone.tiers.redis.slot_of_thread(user, "t"), user, "t")
    assert alone.tiers.redis_client.ttl(index) == -1
    service.discard(only(service).id, by="somebody")
    assert listed(alone, user) == [before.id]
    assert int(alone.tiers.redis_client.ttl(index)) > 0


@pytest.mark.parametrize("tombstone", [False, True])
def test_a_discarded_later_version_shows_the_one_that_is_kept(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
    tombstone: bool,
) -> None:
    # So many that Redis alone could answer for the newest of them.
    made = [message(user) for _ in range(5)]
    one = made[3]
    alone.tiers.redis.append([append_of(*made)], 60)
    drain()
    bad.enter_context(refusing(alone, f"user_id <> '{user}' OR version < 2"))
    alone.tiers.redis.revise(revised(one, deleted=tombstone), expected_version=1)
    assert drain().refused == 1
    assert service.discard(only(service).id, by="somebody").removed_from_redis
    assert alone.failover.retrieval.get(user, one.id).message == one
    assert [each.id for each in desc(alone, user, 2)] == [made[4].id, one.id]
    assert listed(alone, user) == [each.id for each in made]


def test_a_discarded_edit_of_an_archived_message_shows_what_the_archive_has(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    made = [message(user) for _ in range(5)]
    one = made[3]
    alone.tiers.redis.append([append_of(*made)], 60)
    drain()
    alone.jobs.replication.ship_all()
    bad.enter_context(archived(alone, [msgspec.to_builtins(each) for each in made]))
    # The reader warms Redis, which can then answer alone for the newest of them.
    assert [each.id for each in desc(alone, user, 4)] == [each.id for each in made[:0:-1]]
    bad.enter_context(refusing(alone, f"user_id <> '{user}'"))
    alone.tiers.redis.revise(revised(one, deleted=True), expected_version=1)
    assert drain().refused == 1
    assert service.discard(only(service).id, by="somebody").removed_from_redis
    assert [each.id for each in desc(alone, user, 2)] == [made[4].id, one.id]


def desc(alone: Services, user: str, count: int) -> list[Message]:
    return alone.failover.retrieval.page(user, "t", limit=count, cursor=None, order="desc").messages


def test_a_discard_does_not_touch_another_version(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    newer = revised(one)
    alone.tiers.redis.revise(newer, expected_version=1)
    assert not service.discard(only(service).id, by="somebody").removed_from_redis
    assert alone.failover.retrieval.get(user, one.id).message == newer
    assert drain().written == 1
    assert listed(alone, user) == [one.id]


def test_a_discard_does_not_touch_what_postgresql_has(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    write: Callable[..., int],
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    bad.close()
    write(one)
    assert not service.discard(only(service).id, by="somebody").removed_from_redis
    assert alone.tiers.redis.message(one.id) == codec.encode(one)


def test_a_discard_that_redis_does_not_answer_keeps_the_letter(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    refused_message(alone, user, drain, bad)
    before = only(service)
    gone = msgspec.structs.replace(alone.settings, redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(TierUnavailable):
        Services(gone).jobs.dead_letters.discard(before.id, by="somebody")
    assert only(service) == before


def test_a_discarded_thread_is_nowhere(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    refused_thread(alone, user, drain, bad)
    assert service.discard(only(service).id, by="somebody").removed_from_redis
    with pytest.raises(NotFound):
        alone.threads.get(user, "t")


def test_a_discarded_deletion_brings_the_thread_and_its_messages_back(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = message(user)
    alone.tiers.redis.append([append_of(one)], 60)
    drain()
    bad.enter_context(refusing(alone, f"user_id <> '{user}' OR deleted_at IS NULL", "threads"))
    alone.threads.delete(user, "t")
    assert drain().refused == 1
    assert listed(alone, user) == []
    assert service.discard(only(service).id, by="somebody").removed_from_redis
    assert listed(alone, user) == [one.id]
    assert alone.threads.get(user, "t").message_count == 1
