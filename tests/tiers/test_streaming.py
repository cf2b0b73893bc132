"""Streaming messages over real tiers: one message, one final version, and no chunk lost."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec
import pytest

from models import codec
from models.message import MAX_CONTENT_BYTES, InvalidMessage, Message
from models.streams import STREAM_MARK
from storage import redis_keys as keys
from storage.consistency.report import ConsistencyReport
from storage.errors import NotFound, StreamRefused, TierUnavailable
from storage.events.event import Event
from storage.message_storage import Draft
from storage.persistence import Drained
from storage.services import Services
from support.erasing import erase
from support.outages import listed, without
from support.samples import AWKWARD_TEXTS
from support.waiting import eventually

LONG_AGO = 1.0
"""When a stream was last written, in milliseconds since 1970."""


def opened(own: Services, user: str, text: str = "", key: str | None = None) -> Message:
    draft = Draft("assistant", text, {"model": "m"}, key)
    return own.streaming.open(user, "t", draft).acknowledgement.message


def append(own: Services, user: str, message: Message, text: str, offset: int | None = None) -> int:
    return own.streaming.append(user, message.id, text, offset).length


def finish(
    own: Services, user: str, message: Message, content: str | None = None, **metadata: str
) -> Message:
    return own.streaming.finish(user, message.id, content, metadata or None).message


def stored(own: Services, user: str, message: Message) -> Message:
    return own.retrieval.get(user, message.id).message


def text_so_far(own: Services, message: Message) -> str | None:
    (shown,) = own.streaming.shown([message])
    return shown.text


def refused(code: str, act: Callable[[], object]) -> StreamRefused:
    with pytest.raises(StreamRefused) as caught:
        act()
    assert caught.value.code == code
    return caught.value


def leave(alone: Services, message: Message) -> None:
    """Has it that no chunk came for long."""
    slot = alone.redis.slot_of_message(message.id)
    assert alone.redis_client.zadd(keys.streams(slot), {message.id: LONG_AGO}) == 0


def stream_keys(alone: Services) -> list[bytes]:
    return list(alone.redis_client.keys("stream*"))


def lose_chunks(alone: Services) -> None:
    """Takes the streams away and nothing else, as a Redis does that came back with less."""
    assert alone.redis_client.delete(*stream_keys(alone))


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
    committed = alone.postgres.message(user, message.id)
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
    assert {alone.redis_client.ttl(name) for name in stream_keys(alone)} == {-1}


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
    place = alone.events.open([user])[user]
    message = opened(alone, user)
    append(alone, user, message, 'é/"\\\x01', 0)
    append(alone, user, message, 'é/"\\\x01 and', 0)
    append(alone, user, message, " and", 6)
    final = finish(alone, user, message)
    events: list[Event] = alone.events.after(user, place, 10) or []
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
    with alone.events.doorbell() as bell:
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


def test_a_deleted_message_takes_its_stream_along(alone: Services, user: str) -> None:
    message = opened(alone, user)
    append(alone, user, message, "gone")
    alone.messages.delete(user, message.id, if_version=None)
    assert stream_keys(alone) == []
    for act in (lambda: append(alone, user, message, "x", 4), lambda: finish(alone, user, message)):
        with pytest.raises(NotFound):
            act()
    assert stream_keys(alone) == []


def test_a_chunk_finds_out_that_its_message_was_deleted_beside_redis(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    message = opened(alone, user)
    append(alone, user, message, "gone")
    drain()
    without(alone, "redis").messages.delete(user, message.id, if_version=None)
    # Its copy was evicted, so that the stream is all that Redis has of it.
    alone.redis_client.delete(keys.message(alone.redis.slot_of_message(message.id), message.id))
    with pytest.raises(NotFound):
        append(alone, user, message, "x")
    leave(alone, message)
    assert alone.streaming.interrupt_idle() == 0
    assert stream_keys(alone) == []


def test_an_open_message_goes_on_where_its_copy_was_evicted(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    message = opened(alone, user)
    drain()
    alone.redis_client.delete(keys.message(alone.redis.slot_of_message(message.id), message.id))
    assert append(alone, user, message, "on") == 2
    assert append(alone, user, message, " and on") == 9
    assert finish(alone, user, message).content == "on and on"


def test_a_deleted_thread_takes_its_streams_along(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    persisted = opened(alone, user)
    drain()
    pending = opened(alone, user)
    for message in (persisted, pending):
        append(alone, user, message, "gone")
    alone.threads.delete(user, "t")
    for message in (persisted, pending):
        with pytest.raises(NotFound):
            append(alone, user, message, "x")
    drain()
    alone.erasure.erase_deleted_threads()
    assert alone.open_streams.texts([persisted.id]) == [None]
    # PostgreSQL never took the other, so it is for the look at what is idle.
    leave(alone, pending)
    leave(alone, persisted)
    assert alone.streaming.interrupt_idle() == 0
    assert stream_keys(alone) == []


def test_who_left_off_is_finished_with_what_there_is(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    left, busy = opened(alone, user), opened(alone, user)
    append(alone, user, left, "half a sent")
    append(alone, user, busy, "go")
    leave(alone, left)
    assert alone.streaming.interrupt_idle() == 1
    found = stored(alone, user, left)
    assert (found.version, found.content) == (2, "half a sent")
    assert found.metadata == {"model": "m", STREAM_MARK: "interrupted"}
    assert codec.is_intact(found)
    assert append(alone, user, busy, "es on") == 7
    assert alone.streaming.interrupt_idle() == 0
    # The agent comes back.
    for offset in (None, 11):
        error = refused("stream_interrupted", lambda o=offset: append(alone, user, left, "x", o))  # type: ignore[misc]
        assert error.length == 11
    assert refused("stream_interrupted", lambda: finish(alone, user, left)).length == 11
    final = finish(alone, user, left, "half a sentence")
    assert (final.version, final.content, final.metadata) == (3, "half a sentence", {"model": "m"})
    assert drain().refused == 0


def test_two_workers_and_the_agent_make_one_final_version(alone: Services, user: str) -> None:
    message = opened(alone, user)
    append(alone, user, message, "all of it")
    # The agent was killed after it had closed the stream, so had a worker.
    alone.open_streams.close(message.id)
    leave(alone, message)
    assert alone.open_streams.close(message.id, 1.0) is not None
    refused("not_streaming", lambda: append(alone, user, message, "x"))
    assert append(alone, user, message, "it", 7) == 9
    workers = [Services(alone.settings) for _ in range(2)]
    assert sorted(own.streaming.interrupt_idle() for own in workers) == [0, 1]
    assert stored(alone, user, message).version == 2
    assert stored(alone, user, message).content == "all of it"


def test_a_chunk_that_is_acknowledged_beside_a_finish_is_in_the_final_version(
    alone: Services, user: str
) -> None:
    def say(message: Message, number: int) -> str:
        said = ""
        with suppress(StreamRefused):
            for at in range(200):
                append(alone, user, message, f"<{number}.{at}>")
                said += f"<{number}.{at}>"
        return said

    for _ in range(5):
        message = opened(alone, user)
        with ThreadPoolExecutor(4) as threads:
            agents = [threads.submit(say, message, number) for number in range(3)]
            eventually(lambda message=message: text_so_far(alone, message))
            final = finish(alone, user, message)
            said = [agent.result() for agent in agents]
        parts = re.findall(r"<\d+\.\d+>", final.content)
        assert sorted(parts) == sorted(re.findall(r"<\d+\.\d+>", "".join(said)))
        assert final.version == 2


def test_a_worker_that_died_before_it_forgot_the_stream_is_made_up_for(
    alone: Services, user: str
) -> None:
    message = opened(alone, user)
    append(alone, user, message, "x")
    streamed = alone.redis_client.dump(
        keys.stream(alone.redis.slot_of_message(message.id), message.id)
    )
    final = finish(alone, user, message)
    slot = alone.redis.slot_of_message(message.id)
    alone.redis_client.restore(keys.stream(slot, message.id), 0, streamed)
    alone.redis_client.zadd(keys.streams(slot), {message.id: LONG_AGO})
    refused("not_streaming", lambda: append(alone, user, message, "y"))
    assert alone.streaming.interrupt_idle() == 0
    assert stream_keys(alone) == []
    assert stored(alone, user, message) == final


def test_while_redis_is_out_the_agent_finishes_with_the_whole_text(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    message = opened(alone, user)
    append(alone, user, message, "whole ")
    drain()
    own = without(alone, "redis")
    with pytest.raises(TierUnavailable):
        append(own, user, message, "text", 6)
    with pytest.raises(TierUnavailable):
        finish(own, user, message)
    assert text_so_far(own, message) is None
    done = own.streaming.finish(user, message.id, "whole text", None)
    assert (done.tier_used, done.message.version) == ("postgresql", 1_001)
    assert finish(own, user, message, "whole text") == done.message
    alone.redis_recovery.tend()
    assert stored(alone, user, message) == done.message
    refused("not_streaming", lambda: append(alone, user, message, "x"))
    leave(alone, message)
    assert alone.streaming.interrupt_idle() == 0
    assert stream_keys(alone) == []


def test_a_message_opened_while_redis_is_out_is_streamed_when_it_is_back(
    alone: Services, user: str
) -> None:
    message = opened(without(alone, "redis"), user, "é")
    alone.redis_recovery.tend()
    # Nobody but the agent knows that nothing came before.
    assert refused("offset_mismatch", lambda: append(alone, user, message, "x")).length == 2
    assert append(alone, user, message, "x", 2) == 3
    assert append(alone, user, message, "y") == 4
    assert finish(alone, user, message).content == "éxy"


def test_chunks_that_redis_lost_are_missed_and_not_passed_over(alone: Services, user: str) -> None:
    message = opened(alone, user)
    append(alone, user, message, "lost")
    lose_chunks(alone)
    assert refused("offset_mismatch", lambda: append(alone, user, message, "x", 4)).length == 0
    assert refused("offset_mismatch", lambda: append(alone, user, message, "x")).length == 0
    assert refused("offset_mismatch", lambda: finish(alone, user, message)).length == 0
    assert append(alone, user, message, "lost", 0) == 4
    assert append(alone, user, message, " and found", 4) == 14
    assert finish(alone, user, message).content == "lost and found"


def test_an_open_message_without_a_stream_is_interrupted_once_somebody_read_it(
    alone: Services, user: str
) -> None:
    message = opened(alone, user, "what was stored")
    lose_chunks(alone)
    assert text_so_far(alone, message) == "what was stored"
    refused("offset_mismatch", lambda: finish(alone, user, message))
    leave(alone, message)
    assert alone.streaming.interrupt_idle() == 1
    found = stored(alone, user, message)
    assert (found.content, found.metadata[STREAM_MARK]) == ("what was stored", "interrupted")


def test_a_reader_who_comes_late_sees_the_final_version(alone: Services, user: str) -> None:
    message = opened(alone, user)
    append(alone, user, message, "done")
    final = finish(alone, user, message)
    # It had the open version in hand when the stream went.
    (shown,) = alone.streaming.shown([message])
    assert shown == (final, None)
    assert stream_keys(alone) == []


def test_a_full_log_takes_no_chunks(alone: Services, user: str) -> None:
    message = opened(alone, user)
    alone.redis_client.config_set("maxmemory", "512mb")
    try:
        own = Services(msgspec.structs.replace(alone.settings, redis_log_share=1e-9))
        with pytest.raises(TierUnavailable):
            append(own, user, message, "x")
    finally:
        alone.redis_client.config_set("maxmemory", "0")
    assert text_so_far(alone, message) == ""


def test_a_user_who_is_erased_takes_their_streams_along(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    mine, theirs = opened(alone, user), opened(alone, f"{user}-other")
    append(alone, user, mine, "gone")
    append(alone, f"{user}-other", theirs, "stays")
    drain()
    assert erase(alone, user).state == "done"
    slot = alone.redis.slot_of_message(mine.id)
    assert not alone.redis_client.exists(keys.stream(slot, mine.id))
    assert text_so_far(alone, theirs) == "stays"
    with pytest.raises(NotFound):
        append(alone, user, mine, "x")


def test_a_repeated_opening_goes_on_where_the_text_is(alone: Services, user: str) -> None:
    def open_again() -> tuple[str, str, int]:
        made = alone.streaming.open(user, "t", Draft("assistant", "", {}, "key"))
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
