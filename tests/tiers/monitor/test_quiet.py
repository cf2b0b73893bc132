"""Where nothing happens and nothing is wrong, alerts are judged less often, and at once again."""

from types import SimpleNamespace

import pytest

from jobs.monitor.alerts.monitor import QUIET_WINDOWS
from jobs.monitor.windows import LATE_WINDOWS, WINDOW_SECONDS
from storage.telemetry.counts import Counts
from support.data.pending import drained
from support.faults.outages import post, process
from support.waiting import eventually
from wiring.process import Services

WINDOWS = 2 * QUIET_WINDOWS


class Clock:
    """Windows that pass when the test says so, and those of them that were judged."""

    def __init__(self, own: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        self.window = 900_000_000
        self.monitor = own.performance.monitor
        self.judged: list[int] = []
        monkeypatch.setattr(
            "jobs.monitor.alerts.monitor.time", SimpleNamespace(time=lambda: self.now)
        )
        monkeypatch.setattr("storage.availability.progress.JUDGED_SECONDS", 0)
        monkeypatch.setattr(self.monitor, "evaluate", self._evaluate)

    @property
    def now(self) -> float:
        return self.window * WINDOW_SECONDS + 0.5

    def _evaluate(self, now: float) -> bool:
        self.judged.append(self.window)
        return True

    def judged_of(self, windows: int) -> int:
        """How many of the next windows are judged."""
        self.judged = []
        for _ in range(windows):
            self.window += 1
            self.monitor._evaluate_if_due()
        return len(self.judged)


@pytest.fixture
def own(alone: Services, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setattr("storage.redis.pending_log.POLL_RECORD_SECONDS", 0)
    eventually(lambda: drained(alone))
    return process(alone)


def test_one_window_in_three_is_judged_where_nothing_happens(
    own: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(own, monkeypatch)
    assert clock.judged_of(WINDOWS) == WINDOWS
    clock.monitor._saw_nothing = True
    assert clock.judged_of(WINDOWS) == WINDOWS / QUIET_WINDOWS
    assert [at % QUIET_WINDOWS for at in clock.judged] == [0, 0]


def test_every_window_is_judged_while_something_waits(
    own: Services, alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(own, monkeypatch)
    clock.monitor._saw_nothing = True
    post(alone, user)
    assert clock.judged_of(WINDOWS) == WINDOWS
    eventually(lambda: drained(alone))
    assert clock.judged_of(WINDOWS) == WINDOWS / QUIET_WINDOWS


def test_every_window_is_judged_after_this_process_answered(
    own: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(own, monkeypatch)
    clock.monitor._saw_nothing = True
    own.performance.windows.add(clock.now, Counts({"redis:calls": 1.0}))
    assert clock.judged_of(WINDOWS) == WINDOWS / QUIET_WINDOWS
    own.performance.windows.add(clock.now, Counts({"acknowledged:redis": 1.0}))
    assert clock.judged_of(LATE_WINDOWS) == LATE_WINDOWS
    clock.window += 1
    assert clock.judged_of(WINDOWS) == WINDOWS / QUIET_WINDOWS
