"""Streaming messages over real tiers: one message, one final version, and no chunk twice."""

from collections.abc import Callable

import msgspec
import pytest

from jobs.consistency.report import ConsistencyReport
from jobs.persist.drain import Drained
from models import codec
from models.events import Event
from models.message import MAX_CONTENT_BYTES, InvalidMessage
from models.streams import STREAM_MARK
from storage.errors import NotFound
from storage.messages.posts import Draft
from support.calls.streaming import (
    append,
    finish,
    leave,
    opened,
    refused,
    stored,
    stream_keys,
    text_so_far,
)
from support.data.samples import AWKWARD_TEXTS
from support.faults.outages import listed
from wiring.process import Services


def test_what_is_streamed_becomes_one_version(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    message = opened(alone, user, "So: ")
    assert message.metadata == {"model": "m", STREAM_MARK: "open"}
    length = len(b"So: ")
    for text in AWKWARD_TEXTS:
        length += len(text.encode())
        assert append(alone, user, message, text) == length
    whole = "So: " + "".join(AWKWARD_TEXTS)
    assert text_so_far(alone, message) == whole
    assert stored(alone, user, message) == message
    final = finish(alone, user, message)
    assert (final.version, final.content, final.metadata) == (2, whole, {"model": "m"})
    assert codec.is_intact(final)
    drain()
    committed = alone.tiers.postgres.message(user, message.id)
    assert committed is not None and committed[0] == final
    assert stored(alone, user, message) == final
    assert listed(alone, user) == [whole]
    assert stream_keys(alone) == []


def test_what_is_acknowledged_is_there_for_every_process_and_never_evictable(
    alone: Services, user: str
) -> None:
    message = opened(alone, user)
    append(alone, user, message, "kept")
    assert text_so_far(Services(alone.settings), message) == "kept"
    assert {alone.tiers.redis_client.ttl(name) for name in stream_keys(alone)} == {-1}


def test_a_chunk_may_be_repeated_where_it_begins(alone: Services, user: str) -> None:
    message = opened(alone, user, "é")
    assert append(alone, user, message, "one", 2) == 5
    assert append(alone, user, message, "one", 2) == 5
    # A repeat that brings the next chunk along.
    assert append(alone, user, message, "one two", 2) == 9
    assert text_so_far(alone, message) == "éone two"
    for text, offset in (("other", 2), ("x", 10), ("x", 1), ("onf", 2)):
        error = refused(
            "offset_mismatch",
            lambda text=text, offset=offset: append(alone, user, message, text, offset),  # type: ignore[misc]
        )
        assert error.length == 9
    assert text_so_far(alone, message) == "éone two"


def test_the_whole_has_at_most_64_kib_and_a_chunk_too_many_loses_nothing(
    alone: Services, user: str
) -> None:
    message = opened(alone, user, "x")
    append(alone, user, message, "y" * (MAX_CONTENT_BYTES - 2))
    with pytest.raises(InvalidMessage) as caught:
        append(alone, user, message, "é")
    assert caught.value.code == "content_too_long"
    assert append(alone, user, message, "z") == MAX_CONTENT_BYTES
    assert finish(alone, user, message).content.endswith("yz")


def test_chunks_are_told_in_order_to_those_who_listen(alone: Services, user: str) -> None:
    place = alone.tiers.events.open([user])[user]
    message = opened(alone, user)
    append(alone, user, message, 'é/"\\\x01', 0)
    append(alone, user, message, 'é/"\\\x01 and', 0)
    append(alone, user, message, " and", 6)
    final = finish(alone, user, message)
    events: list[Event] = alone.tiers.events.after(user, place, 10) or []
    assert [(one.type, one.message_id, one.thread_id, one.version) for one in events] == [
        ("message_received", message.id, "t", 1),
        ("message_chunk", message.id, "t", 1),
        ("message_chunk", message.id, "t", 1),
        ("message_updated", message.id, "t", 2),
    ]
    chunks = [msgspec.json.decode(one.record or b"") for one in events[1:3]]
    named = {"message_id": message.id, "thread_id": "t"}
    assert chunks == [
        {**named, "offset": 0, "text": 'é/"\\\x01'},
        {**named, "offset": 6, "text": " and"},
    ]
    assert "".join(chunk["text"] for chunk in chunks) == final.content
    with alone.tiers.events.doorbell() as bell:
        another = opened(alone, user)
        assert bell.wait(5) == {user}
        append(alone, user, another, "x")
        assert bell.wait(5) == {user}


def test_finishing_twice_gives_the_same_version(alone: Services, user: str) -> None:
    message = opened(alone, user)
    append(alone, user, message, "one")
    final = finish(alone, user, message)
    again = alone.streaming.finish(user, message.id, None, None)
    assert (again.message, again.repeated) == (final, True)
    assert finish(alone, user, message, "one", model="m") == final
    refused("not_streaming", lambda: finish(alone, user, message, "other"))
    refused("not_streaming", lambda: finish(alone, user, message, model="other"))


def test_the_text_and_metadata_that_a_finish_gives_win(alone: Services, user: str) -> None:
    message = opened(alone, user)
    append(alone, user, message, "draft")
    final = finish(alone, user, message, "final", tokens="7")
    assert (final.content, final.metadata) == ("final", {"tokens": "7"})


def test_an_agent_may_have_nothing_to_say(alone: Services, user: str) -> None:
    final = finish(alone, user, opened(alone, user))
    assert (final.version, final.content, final.metadata) == (2, "", {"model": "m"})


def test_a_message_that_is_not_streamed_takes_no_chunk(alone: Services, user: str) -> None:
    plain = alone.messages.post(user, "t", Draft("user", "plain", {})).message
    refused("not_streaming", lambda: append(alone, user, plain, "x"))
    refused("not_streaming", lambda: append(alone, user, plain, "x", 5))
    refused("not_streaming", lambda: finish(alone, user, plain))
    done = opened(alone, user)
    finish(alone, user, done, "done")
    refused("not_streaming", lambda: append(alone, user, done, "x"))
    refused("not_streaming", lambda: append(alone, user, done, "x", 4))
    assert stored(alone, user, done).content == "done"
    assert stored(alone, user, plain) == plain


def test_nobody_elses_message_takes_a_chunk(alone: Services, user: str) -> None:
    message = opened(alone, user)
    for other in ("stranger", f"{user}2"):
        with pytest.raises(NotFound):
            append(alone, other, message, "x")
        with pytest.raises(NotFound):
            finish(alone, other, message, "x")
    with pytest.raises(NotFound):
        alone.streaming.append(user, "no-id", "x", None)
    assert text_so_far(alone, message) == ""


def test_an_open_message_is_not_edited(alone: Services, user: str) -> None:
    message = opened(alone, user)
    append(alone, user, message, "kept")

    def edit() -> object:
        return alone.messages.edit(user, message.id, content="x", metadata={}, if_version=None)

    refused("message_streaming", edit)
    assert finish(alone, user, message).content == "kept"
    edit()


def test_a_repeated_opening_goes_on_where_the_text_is(alone: Services, user: str) -> None:
    def open_again() -> tuple[str, str, int]:
        made = alone.streaming.open(user, "t", Draft("assistant", "", {"model": "m"}, "key"))
        return made.acknowledgement.message.id, made.state, made.length

    message = opened(alone, user, key="key")
    append(alone, user, message, "twelve bytes")
    assert open_again() == (message.id, "open", 12)
    leave(alone, message)
    alone.streaming.interrupt_idle()
    assert open_again() == (message.id, "interrupted", 12)
    finish(alone, user, message, "final")
    assert open_again() == (message.id, "finished", 5)


def test_a_check_finds_nothing_wrong_with_streams(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    check: Callable[..., ConsistencyReport],
) -> None:
    append(alone, user, opened(alone, user), "going on")
    finish(alone, user, opened(alone, user), "done")
    assert check().differences == []
