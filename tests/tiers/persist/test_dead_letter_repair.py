"""A repaired record in the place of a refused one: only of the same write."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models import codec, ids
from models.message import InvalidMessage, Message
from storage.errors import StillRefused
from storage.redis import keys
from support.data.letters import (
    inject,
    only,
    refused_thread,
    row_of,
)
from support.data.samples import append_of, message
from wiring.process import Services


@pytest.mark.parametrize("given", ["text", "other white space and hash"])
def test_a_repaired_record_takes_the_place_of_the_refused_one(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService, given: str
) -> None:
    one = message(user)
    alone.tiers.redis.append([append_of(one)], 60)
    key = keys.message(alone.tiers.redis.slot_of_message(one.id), one.id)
    poison = msgspec.json.encode(msgspec.to_builtins(one) | {"content": "a\0b"})
    alone.tiers.redis_client.delete(keys.pending(alone.tiers.redis.slot_of_message(one.id)))
    alone.tiers.redis_client.set(key, poison)
    inject(alone, user, poison)
    assert drain().refused == 1
    letter = only(service)
    repaired = msgspec.structs.replace(one, content="ab")
    record = codec.encode(codec.seal(repaired))
    if given != "text":
        record = msgspec.json.format(codec.encode(repaired))
    assert service.replay(letter.id, by="somebody", record=record).written
    kept = row_of(alone, one)
    assert kept.content == "ab"
    assert kept.content_hash == codec.content_hash(repaired)
    hot = alone.tiers.redis.message(one.id)
    assert hot is not None
    assert codec.decode(hot) == codec.seal(repaired)
    assert alone.tiers.redis.is_evictable(one.id)


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "a lone surrogate": lambda record: record.replace(b'"X"', b'"\\ud800"'),
    "no end": lambda record: record[: record.index(b'"X"')],
    "too many levels": lambda record: record.replace(
        b'"X"', b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    ),
    "no text": lambda record: record.replace(b'"X"', b'"\xff\xfe"'),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_record_that_is_broken_further_on_still_says_whose_it_is(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService, how: str
) -> None:
    one = message(user, content="X")
    inject(alone, user, BROKEN[how](codec.encode(one)))
    assert drain().refused == 1
    letter = only(service)
    assert (letter.message_id, letter.user_id, letter.thread_id) == (one.id, user, "t")
    with pytest.raises(InvalidMessage):
        service.replay(letter.id, by="somebody", record=codec.encode(message(user)))
    assert service.replay(letter.id, by="somebody", record=codec.encode(one)).written
    assert row_of(alone, one).content == "X"


WRONG_REPAIRS: dict[str, Callable[[Message], bytes]] = {
    "no JSON": lambda one: b"{",
    "no record": lambda one: b"{}",
    "another message": lambda one: codec.encode(message(one.user_id)),
    "another user": lambda one: _with(one, user_id="somebody-else"),
    "another thread": lambda one: _with(one, thread_id="another"),
    "another version": lambda one: _with(one, version=2),
    "no version at all": lambda one: _with(one, version=0),
    "U+0000 still": lambda one: _with(one, content="a\0b"),
    "too much content": lambda one: _with(one, content="x" * 65_537),
    "an unknown role": lambda one: _with(one, role="king"),
    "a tombstone with content": lambda one: _with(one, deleted_at=one.created_at),
    "metadata that is too deep": lambda one: _with(one, metadata=_deep(17)),
    "a time in another form": lambda one: _with(one, updated_at="2026-01-01T00:00:00+02:00"),
    "another time than its id": lambda one: _with(one, created_at="2026-01-01T00:00:00.000000Z"),
}


def _with(one: Message, **fields: Any) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(one) | fields)


def _deep(levels: int) -> dict[str, Any]:
    return {} if levels == 1 else {"a": _deep(levels - 1)}


@pytest.mark.parametrize("what", WRONG_REPAIRS)
def test_only_the_same_message_repaired_may_take_its_place(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService, what: str
) -> None:
    one = message(user)
    inject(alone, user, _with(one, content="a\0b"))
    assert drain().refused == 1
    before = only(service)
    with pytest.raises(InvalidMessage):
        service.replay(before.id, by="somebody", record=WRONG_REPAIRS[what](one))
    assert only(service) == before
    assert row_of(alone, one) is None


def test_a_record_that_says_nothing_of_itself_is_never_replaced(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService
) -> None:
    inject(alone, user, b'{"version":1,"id":"')
    inject(alone, user, codec.encode(message(user)), kind="event")
    assert drain().refused == 2
    for letter in service.list(limit=10, cursor=None)[0]:
        assert (letter.message_id, letter.user_id, letter.thread_id) == (None, None, None)
        with pytest.raises(InvalidMessage):
            service.replay(letter.id, by="somebody", record=codec.encode(message(user)))
        with pytest.raises(StillRefused):
            service.replay(letter.id, by="somebody")
        assert not service.discard(letter.id, by="somebody").removed_from_redis


def test_a_thread_may_be_repaired_but_not_deleted_otherwise(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    refused_thread(alone, user, drain, bad)
    bad.close()
    letter = service.get(only(service).id, by="ops")
    assert letter.record is not None
    mended = msgspec.json.decode(letter.record) | {"title": "mended"}
    for wrong in ({"deleted_through": ids.HIGHEST}, {"id": "u"}, {"title": "a\0b"}):
        with pytest.raises(InvalidMessage):
            service.replay(letter.id, by="somebody", record=msgspec.json.encode(mended | wrong))
    service.replay(letter.id, by="somebody", record=msgspec.json.encode(mended))
    assert alone.threads.get(user, "t").title == "mended"
