"""Processes that count and judge by themselves, a window at a time, as the test says."""

import time
from typing import ClassVar

from jobs.monitor.alerts.state import Alert, AlertState
from jobs.monitor.alerts.store import AlertStore
from jobs.monitor.windows import window_of
from wiring.process import Services


class Judged:
    """The windows that a test lets pass: no time does."""

    _latest: ClassVar[float] = time.time() // 2 * 2 - 3_600 + 0.5
    """In the past, as windows pass faster here than they do."""

    def __init__(self, alone: Services) -> None:
        # Behind the windows of the test before, which some processes remember.
        self.now = Judged._latest + 2
        # What other tests raised is over.
        nothing = AlertState(window=window_of(self.now) - 1)
        AlertStore(alone.tiers.notices, alone.tiers.breakers).keep(nothing, everywhere=True)
        alone.tiers.notices.write("alert-marks", {})

    def by(self, own: Services, windows: int = 1) -> dict[str, Alert]:
        """This process counts and judges so many windows; gives what stands then, by key.

        There is no worker here, which is told after ten seconds, and by a process that is less
        patient; only of such a one is it given.
        """
        for _ in range(windows):
            self.now += 2
            own.performance._counting.count(self.now)
            own.performance.monitor.evaluate(self.now)
            Judged._latest = self.now
        found = {one.key: one for one in own.performance.monitor.active()}
        if own.settings.no_progress_seconds >= 1:
            found.pop("no_progress", None)
        return found
