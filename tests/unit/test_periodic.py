"""A thread that a process keeps for itself: no error ends it, and it lives while it is wanted."""

import threading
from collections.abc import Callable

from structlog.testing import capture_logs

from storage.resilience.periodic import PeriodicThread
from support.waiting import eventually

PAUSE_SECONDS = 0.01


class Work:
    """Counts its rounds, each of which fails, and how often it was told so."""

    def __init__(self) -> None:
        self.rounds = self.failures = 0
        self.is_wanted = True

    def do(self) -> None:
        self.rounds += 1
        raise RuntimeError("as nobody foresaw")

    def failed(self) -> None:
        self.failures += 1

    def thread(self, pause_seconds: Callable[[], float] = lambda: PAUSE_SECONDS) -> PeriodicThread:
        return PeriodicThread(
            "periodic",
            self.do,
            pause_seconds,
            "round_broke",
            on_failure=self.failed,
            is_wanted=lambda: self.is_wanted,
        )


def named() -> int:
    return [thread.name for thread in threading.enumerate()].count("periodic")


def test_a_round_that_fails_is_told_and_the_next_one_comes() -> None:
    work = Work()
    thread = work.thread()
    with capture_logs() as logs:
        thread.begin()
        eventually(lambda: work.rounds >= 3)
        thread.end()
        eventually(lambda: not thread.is_running)
    assert work.failures == work.rounds
    assert {entry["event"] for entry in logs} == {"round_broke"}


def test_it_is_one_thread_however_often_it_is_begun() -> None:
    eventually(lambda: named() == 0)
    work = Work()
    thread = work.thread()
    for _ in range(5):
        thread.begin()
    assert named() == 1
    thread.end()
    eventually(lambda: not thread.is_running)


def test_it_ends_when_nobody_wants_it_and_begins_again() -> None:
    work = Work()
    thread = work.thread()
    thread.begin()
    work.is_wanted = False
    eventually(lambda: not thread.is_running)
    work.is_wanted = True
    before = work.rounds
    thread.begin()
    eventually(lambda: work.rounds > before)
    thread.end()
    eventually(lambda: not thread.is_running)


def test_told_to_end_it_does_not_wait_for_its_pause() -> None:
    work = Work()
    thread = work.thread(lambda: 3600.0)
    thread.begin()
    eventually(lambda: work.rounds == 1)
    thread.end()
    eventually(lambda: not thread.is_running)


def test_a_round_in_the_calling_thread_raises_nothing() -> None:
    work = Work()
    work.thread().round()
    assert (work.rounds, work.failures) == (1, 1)
