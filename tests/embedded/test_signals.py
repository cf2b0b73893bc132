"""The pause of a supervisor: long where nothing happens, and over at once where anything does."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from embedded.supervision.signals import StopSignals

LONG_SECONDS = 20.0


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    caught = StopSignals()
    caught.catch()
    caught.are_checked = True
    yield caught
    caught.restore()


def paused(signals: StopSignals, seconds: float) -> float:
    began = time.monotonic()
    signals.pause(seconds)
    return time.monotonic() - began


def test_a_pause_lasts_as_long_as_nothing_happens(signals: StopSignals) -> None:
    assert paused(signals, 0.3) > 0.25


def test_the_end_of_a_child_ends_the_pause(signals: StopSignals) -> None:
    with subprocess.Popen(["sleep", "0.5"]):
        assert paused(signals, LONG_SECONDS) < LONG_SECONDS / 2
    assert paused(signals, 0.3) > 0.25


def test_a_request_to_stop_ends_the_pause(signals: StopSignals) -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert paused(signals, LONG_SECONDS) < LONG_SECONDS / 2
    assert signals.stop_wanted


def test_the_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    caught = StopSignals()
    caught.catch()
    caught.restore()
    assert signal.getsignal(signal.SIGCHLD) is before
    assert signal.set_wakeup_fd(-1) == -1
