"""Looks at Redis while this process remembers keys, so that it sees Redis out without a request.

Who writes to ClickHouse waits until all others have told it their keys. A process that nobody asks
for anything in that second would not know that there is something to tell.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from redis import Redis

from storage.errors import TierError, TierUnavailable
from storage.redis.driver import translated
from storage.resilience.breaker import Breaker
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.instruments import Instruments

LOOK_SECONDS = 0.1
"""Between two looks: part of what `OTHERS_SECONDS` is made of."""

OUT_SECONDS = 0.3
"""Likewise while Redis is out. Each of them may be an insert, of which ClickHouse likes few."""


class RedisHeartbeat:
    """A thread that lives while it is wanted.

    `well_since` is the moment of the monotonic clock from which on no look found Redis out:
    infinity where the last one did, or nobody looks.
    """

    def __init__(
        self,
        client: Redis,
        breaker: Breaker,
        instruments: Instruments,
        *,
        is_wanted: Callable[[], bool],
        on_down: Callable[[], None],
    ) -> None:
        """`client` has a connection of its own, for which no request waits. `on_down` is called in
        each round that finds Redis down; its `TierError` is another round's matter."""
        self._client = client
        self._breaker = breaker
        self._is_wanted = is_wanted
        self._on_down = on_down
        self._opened = -1
        self.well_since = float("inf")
        self._thread = PeriodicThread(
            "watch-redis",
            self._beat,
            lambda: LOOK_SECONDS if breaker.is_closed else OUT_SECONDS,
            "watch_failed",
            on_failure=partial(instruments.round_failed, "watch-redis"),
            is_wanted=self._goes_on,
        )

    def begin(self) -> None:
        """Starts the heartbeat unless it runs."""
        self._thread.begin()

    def _goes_on(self) -> bool:
        if not (is_wanted := self._is_wanted()):
            self.well_since = float("inf")
        return is_wanted

    def _beat(self) -> None:
        # The tier that could not be told has a breaker of its own, which says why.
        with suppress(TierError):
            self._look()

    def _look(self) -> None:
        if self._breaker.is_closed:
            self._ask()
        opened = self._breaker.state().opened
        if not self._breaker.is_closed or opened != self._opened:
            self._opened = opened
            self.well_since = float("inf")
        if not self._breaker.is_closed:
            self._on_down()
        elif self.well_since == float("inf"):
            self.well_since = time.monotonic()

    def _ask(self) -> None:
        # Not through the door: a quick answer to this says nothing about how slow writes are.
        try:
            with translated():
                self._client.ping()
        except TierUnavailable as error:
            if not error.passing:
                self._breaker.open(error.reason)
