"""Streams whose agent, message, worker or Redis is gone: nothing acknowledged is lost, and nothing
stays behind."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec
import pytest

from jobs.persist.drain import Drained
from models import codec
from models.message import Message
from models.streams import STREAM_MARK
from storage.errors import NotFound, StreamRefused, TierUnavailable
from storage.redis import keys
from support.calls.erasing import erase
from support.calls.streaming import (
    LONG_AGO,
    append,
    finish,
    leave,
    lose_chunks,
    opened,
    refused,
    stored,
    stream_keys,
    text_so_far,
)
from support.faults.outages import without
from support.waiting import eventually
from wiring.process import Services


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
    alone.tiers.redis_client.delete(
        keys.message(alone.tiers.redis.slot_of_message(message.id), message.id)
    )
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
    alone.tiers.redis_client.delete(
        keys.message(alone.tiers.redis.slot_of_message(message.id), message.id)
    )
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
    alone.jobs.erasure.erase_deleted_threads()
    assert alone.tiers.open_streams.texts([persisted.id]) == [None]
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


def test_who_comes_back_before_the_worker_is_not_left(alone: Services, user: str) -> None:
    message = opened(alone, user)
    leave(alone, message)
    assert alone.tiers.open_streams.idle(60.0) == [message.id]
    # The worker has it on its list when the chunk comes.
    append(alone, user, message, "back")
    assert alone.tiers.open_streams.close(message.id, 60.0) is None
    assert append(alone, user, message, " again") == 10


def test_two_workers_and_the_agent_make_one_final_version(alone: Services, user: str) -> None:
    message = opened(alone, user)
    append(alone, user, message, "all of it")
    # The agent was killed after it had closed the stream, so had a worker.
    alone.tiers.open_streams.close(message.id)
    leave(alone, message)
    assert alone.tiers.open_streams.close(message.id, 1.0) is not None
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
    streamed = alone.tiers.redis_client.dump(
        keys.stream(alone.tiers.redis.slot_of_message(message.id), message.id)
    )
    final = finish(alone, user, message)
    slot = alone.tiers.redis.slot_of_message(message.id)
    alone.tiers.redis_client.restore(keys.stream(slot, message.id), 0, streamed)
    alone.tiers.redis_client.zadd(keys.streams(slot), {message.id: LONG_AGO})
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
    alone.failover.redis_recovery.reconcile()
    assert stored(alone, user, message) == done.message
    refused("not_streaming", lambda: append(alone, user, message, "x"))
    leave(alone, message)
    assert alone.streaming.interrupt_idle() == 0
    assert stream_keys(alone) == []


def test_a_message_opened_while_redis_is_out_is_streamed_when_it_is_back(
    alone: Services, user: str
) -> None:
    message = opened(without(alone, "redis"), user, "é")
    alone.failover.redis_recovery.reconcile()
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
    before = alone.tiers.redis_client.config_get("maxmemory")["maxmemory"]
    alone.tiers.redis_client.config_set("maxmemory", "512mb")
    try:
        own = Services(msgspec.structs.replace(alone.settings, redis_log_share=1e-9))
        with pytest.raises(TierUnavailable):
            append(own, user, message, "x")
    finally:
        alone.tiers.redis_client.config_set("maxmemory", before)
    assert text_so_far(alone, message) == ""


def test_a_user_who_is_erased_takes_their_streams_along(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    mine, theirs = opened(alone, user), opened(alone, f"{user}-other")
    append(alone, user, mine, "gone")
    append(alone, f"{user}-other", theirs, "stays")
    drain()
    assert erase(alone, user).state == "done"
    slot = alone.tiers.redis.slot_of_message(mine.id)
    assert not alone.tiers.redis_client.exists(keys.stream(slot, mine.id))
    assert text_so_far(alone, theirs) == "stays"
    with pytest.raises(NotFound):
        append(alone, user, mine, "x")
