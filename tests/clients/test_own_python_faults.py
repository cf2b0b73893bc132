"""Our Python client while parts of a stack are killed: nothing doubled, nothing lost."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue

import pytest

from selftest.bed.stack import REALTIME, Testbed
from support.own_clients.breaking import WAIT_SECONDS, check_all, kill, more, writing
from support.waiting import eventually
from threadkeep_client import Event, Threadkeep

UNKNOWN = "1-1"
"""An id that no event has: `reset` is the answer, and says that the stream is open."""


def test_posts_survive_a_killed_redis_and_then_a_killed_web(
    bed: Testbed, patient: Threadkeep
) -> None:
    with writing(patient) as sent:
        for name in ("redis-data", "web"):
            more(sent)
            kill(bed, name)
            more(sent)
    check_all(patient, sent)


@pytest.mark.extensive
@pytest.mark.timeout(400)
def test_posts_survive_whatever_is_killed_again_and_again(
    bed: Testbed, patient: Threadkeep
) -> None:
    with writing(patient) as sent:
        for name in ("web", "redis-data", "postgres", "worker", "clickhouse") * 3:
            more(sent)
            kill(bed, name)
        more(sent)
    check_all(patient, sent)


@contextmanager
def hearing(patient: Threadkeep) -> Iterator[Queue[Event]]:
    """The events that a listener hears in a thread of its own."""
    heard: Queue[Event] = Queue()
    is_over = threading.Event()

    def listen() -> None:
        for event in patient.events("t0", "t1", "last", last_event_id=UNKNOWN):
            heard.put(event)
            if is_over.is_set():
                return

    listener = threading.Thread(target=listen)
    listener.start()
    assert heard.get(timeout=WAIT_SECONDS).type == "reset"
    try:
        yield heard
    finally:
        is_over.set()
        patient.post_message("last", "so that it hears that it is over")
        listener.join(WAIT_SECONDS)
    assert not listener.is_alive()


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.extensive)])
def test_events_continue_after_a_killed_realtime_process(
    bed: Testbed, patient: Threadkeep, times: int
) -> None:
    with hearing(patient) as heard:
        # No more than the server keeps for who was away.
        with writing(patient, pause_seconds=0.1) as sent:
            for _ in range(times):
                more(sent)
                kill(bed, REALTIME)
            more(sent)
        patient.post_message("last", "end")
        received = received_until(heard, "end")
    wanted = [one for one in sent if one[0].startswith(("t0 ", "t1 "))]
    assert sorted(received[:-1]) == sorted(wanted)


def received_until(heard: "Queue[Event]", text: str) -> list[tuple[str, str]]:
    """The messages that were heard, as text and id, up to this one."""
    found: list[tuple[str, str]] = []
    while not found or found[-1][0] != text:
        event = heard.get(timeout=WAIT_SECONDS)
        assert event.type != "reset"
        if event.type == "message_received" and event.message is not None:
            found.append((event.message.content, event.message.id))
    return found


def lose_chunks(bed: Testbed) -> None:
    """As a Redis that comes back with less."""
    redis = bed.services.tiers.redis_client
    assert redis.delete(*redis.keys("stream*"))


def cut_redis(bed: Testbed) -> None:
    """Redis is cut off until the test heals it: chunks are refused."""
    bed.proxies["redis-data"].refuse()


def kill_web(bed: Testbed) -> None:
    """The connection breaks, and nobody answers for a while."""
    bed.kill("web")


@pytest.mark.parametrize("breaks", [lose_chunks, cut_redis, kill_web])
def test_a_message_in_pieces_survives(
    bed: Testbed, patient: Threadkeep, breaks: Callable[[Testbed], None]
) -> None:
    pieces = [f"piece {n} ☀ " for n in range(40)]
    try:
        with patient.stream("t") as writer:
            for number, piece in enumerate(pieces):
                if number == 20:
                    breaks(bed)
                writer.write(piece)
    finally:
        bed.heal()
    read = patient.get_message(writer.message.id)
    assert (read.content, read.stream) == ("".join(pieces), None)
    eventually(lambda: bed.answers("web"), WAIT_SECONDS)
