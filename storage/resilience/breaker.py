"""A breaker for each tier: after one failure nobody waits for a dead server again.

A few slow calls in a row, or one that was late because it moved much or had little time, have a
probe decide. While open, a thread probes, so that no request pays for that.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec
import structlog

from storage.errors import TierError, TierUnavailable
from storage.resilience import budget
from storage.telemetry.counts import Latencies

log = structlog.get_logger(__name__)

PROBE_SECONDS = 0.2
"""Between two probes of a tier that is out."""

State = Literal["closed", "open", "half-open"]

SLOW_CALLS = 3
"""So many slow calls in a row have a tier probed."""


class BreakerState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reason is why it opened last."""

    state: State
    opened: int = 0
    open_seconds: float | None = None
    reason: str | None = None


class _Guard:
    """One call on its way through a breaker."""

    __slots__ = ("_breaker", "_is_bulk", "_started")

    def __init__(self, breaker: "Breaker", is_bulk: bool) -> None:
        self._breaker = breaker
        self._is_bulk = is_bulk

    def __enter__(self) -> None:
        self._breaker.check()
        self._started = time.perf_counter()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._breaker.judge(time.perf_counter() - self._started, error, is_bulk=self._is_bulk)


class Breaker:
    """One tier's breaker in one process; `probe` raises while the tier is not well.

    `opened_at` is when it opened last, by the monotonic clock. `on_opened` and `on_closed` are
    called in the thread that probes.
    """

    def __init__(self, tier: str, probe: Callable[[], None], slow_seconds: float) -> None:
        self.tier = tier
        self._probe = probe
        self._slow_seconds = slow_seconds
        self._state: State = "closed"
        self._lock = threading.Lock()
        self._slow_in_a_row = 0
        self.latencies = Latencies()
        self._is_suspect = False
        self._opened = 0
        self.opened_at = self._closed_at = float("-inf")
        self._reason = ""
        self.on_opened: list[Callable[[], None]] = []
        self.on_closed: list[Callable[[], None]] = []

    @property
    def is_closed(self) -> bool:
        """Whether calls pass."""
        return self._state == "closed"

    def was_open_within(self, seconds: float) -> bool:
        """Whether it is open, or was until so long ago."""
        return not self.is_closed or time.monotonic() - self._closed_at < seconds

    def guard(self, *, is_bulk: bool = False) -> "_Guard":
        """A block around one call. Raises `TierUnavailable` at once while the breaker is open, and
        where the caller has no time left. A bulk call may take its time."""
        return _Guard(self, is_bulk)

    def check(self) -> None:
        """Begins a call. Raises as the block of `guard` does."""
        if self._state != "closed":
            raise TierUnavailable(self.tier, self._reason, tried=False)
        budget.check(self.tier)

    def judge(self, seconds: float, error: BaseException | None, *, is_bulk: bool) -> None:
        """Ends a call that took so long, and what it raised, if anything."""
        if isinstance(error, TierUnavailable):
            self._failed(error, is_bulk=is_bulk)
        if error is not None:
            return
        if not is_bulk:
            self.latencies.note(seconds)
        if is_bulk or seconds <= self._slow_seconds:
            self._slow_in_a_row = 0
        else:
            self._note_slow()

    def _failed(self, error: TierUnavailable, *, is_bulk: bool) -> None:
        if error.tier != self.tier or error.passing:
            return
        if error.late and (is_bulk or budget.is_spent()):
            self._suspect(error.reason)
        else:
            self.open(error.reason)

    def open(self, reason: str) -> None:
        """Opens the breaker, and has it probed until the tier is well again."""
        with self._lock:
            if not self.is_closed:
                return
            self._state = "open"
            self._reason = reason
            self._opened += 1
            self.opened_at = time.monotonic()
        log.warning("breaker_opened", tier=self.tier, reason=reason)
        self._start("probe", self._probe_until_well)

    def state(self) -> BreakerState:
        """What it is, and why."""
        state, open_seconds = self._state, None
        if state != "closed":
            open_seconds = round(time.monotonic() - self.opened_at, 3)
        return BreakerState(
            state=state, opened=self._opened, open_seconds=open_seconds, reason=self._reason or None
        )

    def _note_slow(self) -> None:
        with self._lock:
            self._slow_in_a_row += 1
            if self._slow_in_a_row < SLOW_CALLS:
                return
        self._suspect(f"{SLOW_CALLS} calls in a row took over {self._slow_seconds * 1000:g} ms")

    def _suspect(self, reason: str) -> None:
        with self._lock:
            if self._is_suspect:
                return
            self._is_suspect = True
        self._start("judge", partial(self._judge, reason))

    def _start(self, name: str, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=f"{name}-{self.tier}", daemon=True).start()

    def _judge(self, reason: str) -> None:
        if self._failure() is not None:
            self.open(reason)
        with self._lock:
            self._slow_in_a_row = 0
            self._is_suspect = False

    def _probe_until_well(self) -> None:
        self._notify(self.on_opened)
        while True:
            time.sleep(PROBE_SECONDS)
            self._state = "half-open"
            failure = self._failure()
            if failure is None:
                break
            self._reason, self._state = failure, "open"
        self._closed_at = time.monotonic()
        self._state = "closed"
        seconds = round(self._closed_at - self.opened_at, 3)
        log.info("breaker_closed", tier=self.tier, open_seconds=seconds)
        self._notify(self.on_closed)

    def _notify(self, listeners: list[Callable[[], None]]) -> None:
        for listener in listeners:
            try:
                listener()
            except Exception as error:
                # A listener that fails must not keep the tier from being probed.
                log.warning("listener_failed", tier=self.tier, error=str(error))

    def _failure(self) -> str | None:
        """What a probe finds wrong, if anything."""
        started = time.perf_counter()
        try:
            self._probe()
        except TierError as error:
            return error.reason
        except Exception as error:
            # Whatever a probe runs into, the tier is not well, and the next probe must come.
            return type(error).__name__
        took = time.perf_counter() - started
        return "it answers, but slowly" if took > self._slow_seconds else None
