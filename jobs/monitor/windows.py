"""Counts of the last twenty minutes in windows of two seconds, of all processes together, in Redis.
Each process takes there what it counted, every two seconds, in a thread of its own. While Redis is
down it goes by its own, and adds them afterwards. An addition whose answer was lost may count
twice."""

import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from redis import Redis

from storage.errors import TierError
from storage.redis import keys
from storage.redis.driver import translated
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.counts import ANSWERS, TIERS, Counts, Latencies, total
from storage.tiers import Tiers

WINDOW_SECONDS = 2
KEPT_SECONDS = 1_200
SHOWN_WINDOWS = 300
"""Ten minutes: what a baseline is taken from, and what the road shows."""
UNSETTLED_WINDOWS = 5
"""The newest are still added to, so they are read each time."""
LATE_WINDOWS = 3
"""An idle process writes its calls to the tiers at most every three windows: each write costs Redis
an fsync."""
REREAD_SECONDS = 30.0
"""A process that could not reach Redis adds to older windows too: all are read again."""
TURN_MILLISECONDS = 10_000


def window_of(moment: float) -> int:
    """The number of the window that a moment, in seconds since 1970, lies in."""
    return int(moment // WINDOW_SECONDS)


def latest(windows: Mapping[int, Counts], now: float, count: int) -> Counts:
    """What was counted in the last so many windows that are over."""
    newest = window_of(now)
    return total(windows[at] for at in range(newest - count, newest) if at in windows)


class Windows:
    """One process's way to all of them. `client` is a connection of its own."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._own: dict[int, Counts] = {}
        self._unsent: dict[int, Counts] = {}
        self._read: dict[int, Counts] = {}
        self._read_all_at = float("-inf")

    def add(self, moment: float, counts: Mapping[str, float]) -> None:
        """Adds what this process counted around a moment, to Redis at once or later."""
        window = window_of(moment)
        with self._lock:
            if counts:
                for kept in (self._own, self._unsent):
                    kept[window] = kept.get(window, Counts()) + counts
            for kept in (self._own, self._unsent):
                _forget_before(kept, window - SHOWN_WINDOWS)
            is_late = any(at <= window - LATE_WINDOWS for at in self._unsent)
            if not (is_late or any(map(_tells_of_more, self._unsent.values()))):
                return
            unsent, self._unsent = self._unsent, {}
        try:
            self._send(unsent)
        except TierError:
            with self._lock:
                for window, counts in unsent.items():
                    self._unsent[window] = self._unsent.get(window, Counts()) + counts

    def is_idle(self, window: int) -> bool:
        """Whether this process counted nothing in the last windows but its calls to the tiers."""
        with self._lock:
            recent = [self._own.get(window - back, Counts()) for back in range(LATE_WINDOWS + 1)]
        return not any(map(_tells_of_more, recent))

    def take_turn(self, window: int) -> bool:
        """Whether this process is the first that asks for this window's turn. Raises
        `TierError`."""
        with translated():
            key = keys.performance_turn(window)
            return bool(self._client.set(key, 1, nx=True, px=TURN_MILLISECONDS))

    def recent(self, now: float) -> dict[int, Counts]:
        """The windows of the last ten minutes that hold anything, by number; the last is not over
        yet. Without Redis they are what this process read before and counted itself."""
        newest = window_of(now)
        wanted = range(newest - SHOWN_WINDOWS, newest + 1)
        with self._lock:
            try:
                self._refresh(wanted)
            except TierError:
                known = {**self._own, **{at: self._read[at] for at in self._read if self._read[at]}}
                for at, counts in self._unsent.items():
                    known[at] = self._read.get(at, Counts()) + counts
            else:
                known = self._read
            return {at: known[at] for at in wanted if known.get(at)}

    def _refresh(self, wanted: range) -> None:
        is_due = time.monotonic() - self._read_all_at > REREAD_SECONDS
        unsettled = wanted[-UNSETTLED_WINDOWS]
        missing = [at for at in wanted if is_due or at >= unsettled or at not in self._read]
        with translated():
            pipeline = self._client.pipeline(transaction=False)
            for at in missing:
                pipeline.hgetall(keys.performance(at))
            answers: list[Any] = pipeline.execute()
        for at, fields in zip(missing, answers, strict=True):
            numbers = {name.decode(): float(value) for name, value in fields.items()}
            self._read[at] = Counts(numbers)
        if is_due:
            self._read_all_at = time.monotonic()
        _forget_before(self._read, wanted[0])

    def _send(self, unsent: Mapping[int, Counts]) -> None:
        if not unsent:
            return
        with translated():
            pipeline = self._client.pipeline(transaction=True)
            for window, counts in unsent.items():
                name = keys.performance(window)
                for field, value in counts.items():
                    if field.endswith("seconds"):
                        pipeline.hincrbyfloat(name, field, round(value, 6))
                    else:
                        pipeline.hincrby(name, field, int(value))
                pipeline.expire(name, KEPT_SECONDS)
            pipeline.execute()


class Counting:
    """One process's counts, on their way to the windows of all."""

    def __init__(self, tiers: Tiers, windows: Windows) -> None:
        self.answered = Latencies()
        self._tiers = tiers
        self._windows = windows
        self._before: Counts | None = None
        # At the end of each window by the clock, so that windows of all processes agree.
        self._thread = PeriodicThread(
            "counting",
            lambda: self.count(time.time()),
            lambda: WINDOW_SECONDS - time.time() % WINDOW_SECONDS,
            "not_counted",
            on_failure=partial(tiers.instruments.round_failed, "counting"),
            waits_first=True,
            shows_traceback=False,
        )

    def begin(self) -> None:
        """Counts from now on. Once a process, after any fork."""
        self._before = self._totals()
        self._thread.begin()

    def count(self, now: float) -> None:
        """Adds what was counted since the last time to the window that has just ended."""
        totals = self._totals()
        grown, self._before = totals.since(self._before or {}), totals
        self._windows.add(now - WINDOW_SECONDS / 2, grown)

    def _totals(self) -> Counts:
        """What this process counted since it began."""
        tiers = self._tiers
        numbers = Counts(tiers.instruments.counts() | self.answered.totals(ANSWERS))
        for tier in TIERS:
            numbers |= tiers.breakers.of(tier).latencies.totals(tier)
            numbers[f"{tier}:slow"] = tiers.slow_queries.counts[tier]
        return numbers


def _tells_of_more(counts: Counts) -> bool:
    """Whether anything but calls to the tiers was counted."""
    return any(name.partition(":")[0] not in TIERS for name in counts)


def _forget_before(kept: dict[int, Counts], oldest: int) -> None:
    for at in [at for at in kept if at < oldest]:
        del kept[at]
