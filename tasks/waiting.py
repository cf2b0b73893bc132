"""What a worker's polls find out first, so that those of an idle system cost next to nothing."""

import itertools
import threading
import time
from collections.abc import Callable

from storage.availability.notices import TIERS
from storage.errors import TierError
from storage.postgres.backlog import waiting
from wiring.process import Services

QUICK_TIERS = ("redis", "postgresql")
THOROUGH_EACH = 5
"""A request for a recovery is in every tier that answered. ClickHouse, which costs most to ask, has
it alone only where the others were lost, and is asked one time in five."""

FRESH_SHARE = 0.25
"""Of the shortest interval: for so long an answer serves the polls that come at the same time."""

DOUBT_SECONDS = 10.0
"""After PostgreSQL was silent, whoever wrote to ClickHouse may not have said so yet."""

UNASKED_SECONDS = 10.0
"""A process that wrote to ClickHouse may have died before it said so."""


TASK_FIRST_SECONDS = 0.1
"""With traces the poll of the log lets a request's own task come first, so that one trace leads
from the request to ClickHouse."""


class LogDrain:
    """The poll of the pending log."""

    def __init__(self, own: Services) -> None:
        self._persistence = own.jobs.persistence
        self._tracing = own.tiers.tracing
        self._was_empty = False

    def drain(self) -> None:
        """Drains the log; where it was empty the last time, when there is an entry again."""
        if self._was_empty:
            self._persistence.log.wait()
            if self._tracing.is_on:
                time.sleep(TASK_FIRST_SECONDS)
        self._was_empty = False
        # Traced by itself, so that the trace does not begin while it waits.
        drained = self._tracing.poll("persist", self._persistence.drain_backlog)
        self._was_empty = not drained.entries


class RecoveryPoll:
    """The poll for requested recoveries."""

    def __init__(self, own: Services) -> None:
        self._recovery = own.jobs.disaster_recovery
        self._polls = itertools.count()

    def go_on(self) -> object:
        """Carries out what was requested; gives what that was, if anything."""
        is_thorough = next(self._polls) % THOROUGH_EACH == 0
        return self._recovery.go_on(TIERS if is_thorough else QUICK_TIERS)


class WaitingWork:
    """What waits in PostgreSQL, asked for in one statement for all polls of a moment."""

    def __init__(self, own: Services) -> None:
        settings = own.settings
        self._engine = own.tiers.request_engine
        self._replay = own.failover.handoff.replay
        self._fresh_seconds = FRESH_SHARE * min(
            settings.ship_look_seconds, settings.recovery_look_seconds
        )
        self._lock = threading.Lock()
        self._found: set[str] | None = None
        self._found_at = self._failed_at = self._replayed_at = float("-inf")

    def then(self, queue: str, work: Callable[[], object]) -> Callable[[], object]:
        """A poll that does the work where this queue holds anything."""
        return lambda: work() if queue in self._now() else None

    def bring_home(self) -> int:
        """Hands over to PostgreSQL what ClickHouse took, where somebody said that it took anything
        or may not have been able to, and now and then in any case. Gives how many that were."""
        now, is_said = time.monotonic(), "direct_writes" in self._now()
        is_doubtful = now - self._failed_at < DOUBT_SECONDS
        if not is_said and not is_doubtful and now - self._replayed_at <= UNASKED_SECONDS:
            return 0
        replayed = self._replay()
        self._replayed_at = time.monotonic()
        return replayed

    def _now(self) -> set[str]:
        with self._lock:
            if self._found is None or time.monotonic() - self._found_at > self._fresh_seconds:
                try:
                    self._found = waiting(self._engine)
                except TierError:
                    self._found, self._failed_at = None, time.monotonic()
                    raise
                self._found_at = time.monotonic()
            return self._found
