"""Dead letters: listed without content, replayed once, kept while refused, given up for good."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, func, select
from structlog.testing import capture_logs

from models import codec, ids
from models.message import InvalidMessage, Message
from models.tables import clickhouse_outbox, dead_letters, messages, threads
from storage import redis_keys as keys
from storage.dead_letters import DeadLetter, DeadLetterService
from storage.errors import NotFound, StillRefused, TierUnavailable
from storage.persistence import Drained
from storage.services import Services
from support.refusing import refusing
from support.samples import append_of, message, revised

BAD = "what PostgreSQL will not take"
NOT_BAD = f"content <> '{BAD}'"


@pytest.fixture(autouse=True)
def _no_letters_before(alone: Services) -> None:
    with alone.job_engine.begin() as connection:
        connection.execute(delete(dead_letters))


@pytest.fixture
def service(alone: Services) -> DeadLetterService:
    return alone.dead_letters


@pytest.fixture
def bad() -> Iterator[ExitStack]:
    """What is entered here makes PostgreSQL refuse; closing it takes the cause away."""
    with ExitStack() as stack:
        yield stack


def inject(alone: Services, user: str, record: bytes, kind: str = "message") -> None:
    """Puts a record straight into the log of the user's thread, beside Redis's other keys."""
    log = keys.pending(alone.redis.slot_of_thread(user, "t"))
    alone.redis_client.xadd(log, {kind: record})


def only(service: DeadLetterService) -> DeadLetter:
    (letter,), cursor = service.list(limit=10, cursor=None)
    assert cursor is None
    return letter


def row_of(alone: Services, one: Message) -> Any:
    with alone.job_engine.connect() as connection:
        query = select(messages).where(messages.c.id == one.id)
        return connection.execute(query).one_or_none()


def queued(alone: Services, one: Message) -> int:
    query = select(func.count()).where(clickhouse_outbox.c.message_id == one.id)
    with alone.job_engine.connect() as connection:
        return connection.execute(query).scalar_one()


def counted(alone: Services, user: str) -> int:
    query = select(threads.c.message_count).where(threads.c.user_id == user, threads.c.id == "t")
    with alone.job_engine.connect() as connection:
        return connection.execute(query).scalar_one()


def listed(alone: Services, user: str) -> list[str]:
    page = alone.retrieval.page(user, "t", limit=1000, cursor=None, order="asc")
    return [one.id for one in page.messages]


def refused_message(
    alone: Services, user: str, drain: Callable[[], Drained], bad: ExitStack
) -> Message:
    """An acknowledged message that became a dead letter; its cause lasts until `bad` closes."""
    bad.enter_context(refusing(alone, NOT_BAD))
    one = message(user, content=BAD)
    alone.redis.append([append_of(one)], 60)
    assert drain().refused == 1
    return one


def test_one_of_five_hundred_is_a_letter_and_the_others_are_committed(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    name = bad.enter_context(refusing(alone, NOT_BAD))
    good = [message(user) for _ in range(250)]
    alone.redis.append([append_of(*good)], 60)
    poison = message(user, content=BAD)
    inject(alone, user, codec.encode(poison))
    more = [message(user) for _ in range(249)]
    alone.redis.append([append_of(*more)], 60)
    assert drain()[:3] == (500, 499, 1)
    assert all(row_of(alone, one) for one in (good[0], good[-1], more[0], more[-1]))
    assert counted(alone, user) == 499
    letter = only(service)
    assert (letter.kind, letter.attempts, letter.attempted_at) == ("message", 1, None)
    assert (letter.message_id, letter.user_id, letter.thread_id) == (poison.id, user, "t")
    assert name in letter.reason
    assert letter.size_bytes == len(codec.encode(poison))
    assert BAD not in repr(letter)
    assert service.get(letter.id).record == codec.encode(poison).decode()

    bad.close()
    done = service.replay(letter.id, by="somebody")
    assert (done.message_id, done.written, done.evictable) == (poison.id, True, True)
    assert row_of(alone, poison).content == BAD
    assert queued(alone, poison) == 1
    assert counted(alone, user) == 500
    # Its index never had it, and must not hide it.
    assert listed(alone, user) == [one.id for one in [*good, poison, *more]]
    with pytest.raises(NotFound):
        service.replay(letter.id, by="somebody")
    assert (queued(alone, poison), counted(alone, user)) == (1, 500)
    assert service.list(limit=10, cursor=None) == ([], None)


def test_a_replayed_message_is_evictable_and_only_then(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    index = keys.index(alone.redis.slot_of_thread(user, "t"), user, "t")
    with pytest.raises(StillRefused):
        service.replay(only(service).id, by="somebody")
    assert not alone.redis.is_evictable(one.id)
    assert alone.redis_client.ttl(index) == -1
    bad.close()
    service.replay(only(service).id, by="somebody")
    assert alone.redis.is_evictable(one.id)
    assert int(alone.redis_client.ttl(index)) > 0
    # The hot page knew it all along, and still answers alone.
    page = alone.retrieval.page(user, "t", limit=10, cursor=None, order="desc")
    assert ([found.id for found in page.messages], page.source) == ([one.id], "redis")


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
    assert alone.retrieval.get(user, one.id).message == one


@pytest.mark.parametrize("given", ["text", "other white space and hash"])
def test_a_repaired_record_takes_the_place_of_the_refused_one(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService, given: str
) -> None:
    one = message(user)
    alone.redis.append([append_of(one)], 60)
    key = keys.message(alone.redis.slot_of_message(one.id), one.id)
    poison = msgspec.json.encode(msgspec.to_builtins(one) | {"content": "a\0b"})
    alone.redis_client.delete(keys.pending(alone.redis.slot_of_message(one.id)))
    alone.redis_client.set(key, poison)
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
    hot = alone.redis.message(one.id)
    assert hot is not None
    assert codec.decode(hot) == codec.seal(repaired)
    assert alone.redis.is_evictable(one.id)


WRONG_REPAIRS: dict[str, Callable[[Message], bytes]] = {
    "no JSON": lambda one: b"{",
    "no record": lambda one: b"{}",
    "another message": lambda one: codec.encode(message(one.user_id)),
    "another user": lambda one: _with(one, user_id="somebody-else"),
    "another thread": lambda one: _with(one, thread_id="another"),
    "another version": lambda one: _with(one, version=2),
    "no version at all": lambda one: _with(one, version=0),
    "no content": lambda one: _with(one, content=""),
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


def test_a_newer_version_wins_over_a_replayed_one(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    newer = revised(one)
    alone.redis.revise(user, "t", one.id, codec.encode(newer), rests_on=1, tombstone=False)
    assert drain().written == 1
    bad.close()
    assert not service.replay(only(service).id, by="somebody").written
    assert row_of(alone, one).version == 2
    assert counted(alone, user) == 1
    assert alone.retrieval.get(user, one.id).message == newer


def test_a_newer_version_that_is_pending_stays_without_a_ttl(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    newer = revised(one)
    alone.redis.revise(user, "t", one.id, codec.encode(newer), rests_on=1, tombstone=False)
    bad.close()
    letter = only(service)
    assert service.replay(letter.id, by="somebody", record=codec.encode(one)).written
    assert alone.redis.message(one.id) == codec.encode(newer)
    assert not alone.redis.is_evictable(one.id)
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
        alone.retrieval.get(user, one.id)


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

    def replay(_: int) -> bool:
        try:
            return service.replay(number, by="somebody").written
        except NotFound:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(replay, range(6))) == [False] * 5 + [True]
    assert (queued(alone, one), counted(alone, user)) == (1, 1)


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
        Services(gone).dead_letters.replay(before.id, by="somebody")
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
    alone.redis_client.set(keys.pending(alone.redis.slot_of_message(one.id)), "no stream")
    done = service.replay(only(service).id, by="somebody")
    assert (done.written, done.evictable) == (True, False)
    assert row_of(alone, one) is not None
    assert service.list(limit=10, cursor=None) == ([], None)


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
    for look in (alone.retrieval.get, alone.receipts.receipt):
        with pytest.raises(NotFound):
            look(user, one.id)
    with pytest.raises(NotFound):
        alone.threads.get(user, "t")
    with pytest.raises(NotFound):
        service.discard(letter.id, by="somebody")
    # Not a key is left of it.
    assert [key for key in alone.redis_client.keys("*") if one.id.encode() in key] == []


def test_a_discard_leaves_the_neighbours_and_lets_them_expire(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    before = message(user)
    alone.redis.append([append_of(before)], 60)
    refused_message(alone, user, drain, bad)
    index = keys.index(alone.redis.slot_of_thread(user, "t"), user, "t")
    assert alone.redis_client.ttl(index) == -1
    service.discard(only(service).id, by="somebody")
    assert listed(alone, user) == [before.id]
    assert int(alone.redis_client.ttl(index)) > 0


@pytest.mark.parametrize("tombstone", [False, True])
def test_a_discarded_later_version_shows_the_one_that_is_kept(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
    tombstone: bool,
) -> None:
    one = message(user)
    alone.redis.append([append_of(one)], 60)
    drain()
    bad.enter_context(refusing(alone, f"user_id <> '{user}' OR version < 2"))
    later = revised(one, deleted=tombstone)
    record = codec.encode(later)
    alone.redis.revise(user, "t", one.id, record, rests_on=1, tombstone=tombstone)
    assert drain().refused == 1
    assert service.discard(only(service).id, by="somebody").removed_from_redis
    assert alone.retrieval.get(user, one.id).message == one
    assert listed(alone, user) == [one.id]


def test_a_discard_does_not_touch_another_version(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    one = refused_message(alone, user, drain, bad)
    newer = revised(one)
    alone.redis.revise(user, "t", one.id, codec.encode(newer), rests_on=1, tombstone=False)
    assert not service.discard(only(service).id, by="somebody").removed_from_redis
    assert alone.retrieval.get(user, one.id).message == newer
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
    assert alone.redis.message(one.id) == codec.encode(one)


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
        Services(gone).dead_letters.discard(before.id, by="somebody")
    assert only(service) == before


def refused_thread(
    alone: Services, user: str, drain: Callable[[], Drained], bad: ExitStack
) -> None:
    bad.enter_context(refusing(alone, f"user_id <> '{user}'", "threads"))
    alone.threads.create(user, "t", "a title", {})
    assert drain().refused == 1


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
    key = keys.thread(alone.redis.slot_of_thread(user, "t"), user, "t")
    assert alone.redis_client.ttl(key) == -1
    bad.close()
    assert service.replay(letter.id, by="somebody").written
    row = alone.postgres.thread(user, "t")
    assert row is not None
    assert row.thread.title == "a title"
    assert int(alone.redis_client.ttl(key)) > 0


def test_a_thread_may_be_repaired_but_not_deleted_otherwise(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    refused_thread(alone, user, drain, bad)
    bad.close()
    letter = service.get(only(service).id)
    assert letter.record is not None
    mended = msgspec.json.decode(letter.record) | {"title": "mended"}
    for wrong in ({"deleted_through": ids.HIGHEST}, {"id": "u"}, {"title": "a\0b"}):
        with pytest.raises(InvalidMessage):
            service.replay(letter.id, by="somebody", record=msgspec.json.encode(mended | wrong))
    service.replay(letter.id, by="somebody", record=msgspec.json.encode(mended))
    assert alone.threads.get(user, "t").title == "mended"


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
    alone.redis.append([append_of(one)], 60)
    drain()
    bad.enter_context(refusing(alone, f"user_id <> '{user}' OR deleted_at IS NULL", "threads"))
    alone.threads.delete(user, "t")
    assert drain().refused == 1
    assert listed(alone, user) == []
    assert service.discard(only(service).id, by="somebody").removed_from_redis
    assert listed(alone, user) == [one.id]
    assert alone.threads.get(user, "t").message_count == 1


def test_pages_are_newest_first_and_meet_without_gap(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService
) -> None:
    for _ in range(5):
        inject(alone, user, b"{")
    assert drain().refused == 5
    found: list[int] = []
    cursor = None
    for size in (2, 2, 1):
        page, cursor = service.list(limit=2, cursor=cursor)
        assert len(page) == size
        found += [letter.id for letter in page]
    assert cursor is None
    assert found == sorted(service.numbers(), reverse=True)
    assert len(set(found)) == 5


def test_a_record_that_is_no_text_is_shown_as_bytes(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService
) -> None:
    one = message(user, content="X")
    record = codec.encode(one).replace(b'"X"', b'"\xff\xfe"')
    inject(alone, user, record)
    assert drain().refused == 1
    letter = service.get(only(service).id)
    assert (letter.record, letter.record_base64) == (None, record)
    assert (letter.message_id, letter.user_id, letter.thread_id) == (one.id, user, "t")
    with pytest.raises(NotFound):
        service.get(letter.id + 1)


def test_the_log_says_who_decided_what_and_nothing_of_the_content(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    with capture_logs() as lines:
        one = refused_message(alone, user, drain, bad)
        two = refused_message(alone, user, drain, bad)
        first, second = service.numbers()
        with pytest.raises(StillRefused):
            service.replay(first, by="ann")
        bad.close()
        service.replay(first, by="bob")
        service.discard(second, by="cy")
    assert BAD not in repr(lines)
    said = [(line["event"], line["log_level"], line.get("by")) for line in lines]
    assert said == [
        ("dead_lettered", "error", None),
        ("dead_lettered", "error", None),
        ("dead_letter_refused", "error", "ann"),
        ("dead_letter_replayed", "info", "bob"),
        ("dead_letter_discarded", "warning", "cy"),
    ]
    (refused,) = lines[0]["refused"]
    assert (lines[0]["entries"], refused["message_id"]) == (1, one.id)
    assert "violates check constraint" in refused["reason"]
    assert [line["message_id"] for line in lines[2:]] == [one.id, one.id, two.id]
