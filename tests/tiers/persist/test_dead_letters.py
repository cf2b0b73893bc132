"""Dead letters: what is refused is listed without its content, and the log says who decided."""

from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import pytest
from structlog.testing import capture_logs

from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models import codec
from storage.errors import NotFound, StillRefused
from support.data.letters import (
    BAD,
    NOT_BAD,
    counted,
    inject,
    listed,
    only,
    queued,
    refused_message,
    row_of,
)
from support.data.samples import append_of, message
from support.faults.refusing import refusing
from wiring.process import Services


def test_one_of_five_hundred_is_a_letter_and_the_others_are_committed(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
) -> None:
    name = bad.enter_context(refusing(alone, NOT_BAD))
    good = [message(user) for _ in range(250)]
    alone.tiers.redis.append([append_of(*good)], 60)
    poison = message(user, content=BAD)
    inject(alone, user, codec.encode(poison))
    more = [message(user) for _ in range(249)]
    alone.tiers.redis.append([append_of(*more)], 60)
    assert drain()[:3] == (500, 499, 1)
    assert all(row_of(alone, one) for one in (good[0], good[-1], more[0], more[-1]))
    assert counted(alone, user) == 499
    letter = only(service)
    assert (letter.kind, letter.attempts, letter.attempted_at) == ("message", 1, None)
    assert (letter.message_id, letter.user_id, letter.thread_id) == (poison.id, user, "t")
    assert name in letter.reason
    assert letter.size_bytes == len(codec.encode(poison))
    assert BAD not in repr(letter)
    assert service.get(letter.id, by="ops").record == codec.encode(poison).decode()

    bad.close()
    done = service.replay(letter.id, by="somebody")
    assert (done.message_id, done.written, done.evictable) == (poison.id, True, True)
    assert row_of(alone, poison).content == BAD
    assert queued(alone, poison) == 1
    assert counted(alone, user) == 500
    # The index of its thread never had it, and must not hide it.
    page = alone.failover.retrieval.page(user, "t", limit=300, cursor=None, order="desc")
    assert poison.id in [one.id for one in page.messages]
    assert listed(alone, user) == [one.id for one in [*good, poison, *more]]
    with pytest.raises(NotFound):
        service.replay(letter.id, by="somebody")
    assert (queued(alone, poison), counted(alone, user)) == (1, 500)
    assert service.list(limit=10, cursor=None) == ([], None)


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


def test_a_reason_is_listed_without_the_value_that_it_quotes(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService
) -> None:
    record = msgspec.to_builtins(message(user)) | {"updated_at": BAD}
    inject(alone, user, msgspec.json.encode(record))
    with capture_logs() as lines:
        assert drain().refused == 1
    assert BAD in service.get(only(service).id, by="ops").whole_reason
    assert only(service).reason == "invalid input syntax for type timestamp with time zone"
    assert BAD not in repr(lines)


def test_a_record_that_is_no_text_is_shown_as_bytes(
    alone: Services, user: str, drain: Callable[[], Drained], service: DeadLetterService
) -> None:
    one = message(user, content="X")
    record = codec.encode(one).replace(b'"X"', b'"\xff\xfe"')
    inject(alone, user, record)
    assert drain().refused == 1
    letter = service.get(only(service).id, by="ops")
    assert (letter.record, letter.record_base64) == (None, record)
    assert (letter.message_id, letter.user_id, letter.thread_id) == (one.id, user, "t")
    with pytest.raises(NotFound):
        service.get(letter.id + 1, by="ops")


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
    lines = [line for line in lines if line["event"].startswith("dead_letter")]
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
