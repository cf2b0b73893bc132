"""Posts while a stack is being broken, and whether all of them are there afterwards."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from selftest.bed.stack import Testbed
from support.waiting import eventually
from threadkeep_client import Threadkeep

WRITERS = 4
"""Each with a thread of its own: t0, t1, …"""
WAIT_SECONDS = 60


@contextmanager
def writing(client: Threadkeep, pause_seconds: float = 0) -> Iterator[list[tuple[str, str]]]:
    """Writers that post all the time, each to a thread of its own; what was acknowledged, as its
    text and id."""
    sent: list[tuple[str, str]] = []
    failed: list[Exception] = []
    is_over = threading.Event()

    def write(thread_id: str) -> None:
        number = 0
        while not is_over.wait(pause_seconds) and number < 10_000:
            text = f"{thread_id} {number}"
            try:
                sent.append((text, client.post_message(thread_id, text).id))
            except Exception as error:
                failed.append(error)
                return
            number += 1

    writers = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield sent
    finally:
        is_over.set()
        for writer in writers:
            writer.join(WAIT_SECONDS)
    assert not failed, failed


def kill(bed: Testbed, name: str) -> None:
    """Kills a part and waits until it answers again."""
    bed.wait_until_back(name, bed.kill(name))


def more(sent: list[tuple[str, str]], count: int = 20) -> None:
    """Waits until more was acknowledged."""
    known = len(sent)
    eventually(lambda: len(sent) >= known + count, WAIT_SECONDS)


def check_all(client: Threadkeep, sent: list[tuple[str, str]]) -> None:
    """Each text that was acknowledged is there once, under its id, and in order."""
    found = [
        (one.content, one.id)
        for thread in range(WRITERS)
        for one in client.messages(f"t{thread}", order="asc", limit=1000)
    ]
    assert sorted(found) == sorted(sent)
    for thread in range(WRITERS):
        numbers = [int(text.split()[1]) for text, _ in found if text.startswith(f"t{thread} ")]
        assert numbers == list(range(len(numbers)))
