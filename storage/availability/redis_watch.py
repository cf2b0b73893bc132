"""Looks at Redis while this process remembers keys, so that it sees Redis out without a request.

Who writes to ClickHouse waits until all others have told it their keys. A process that nobody asks
for anything in that second would not know that there is something to tell.
"""

import threading
import time
from collections.abc import Callable

import structlog
from redis import Redis

from storage.errors import TierError, TierUnavailable
from storage.redis.driver import translated
from storage.resilience.breaker import Breaker
from storage.telemetry.instruments import Instruments

log = structlog.get_logger(__name__)

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
        while_out: Callable[[], None],
    ) -> None:
        """`client` has a connection of its own, for which no request waits. `while_out` is called
        at each look that finds Redis out; its `TierError` is another look's matter."""
        self._client = client
        self._breaker = breaker
        self._instruments = instruments
        self._is_wanted = is_wanted
        self._while_out = while_out
        self._lock = threading.Lock()
        self._is_on = False
        self._opened = -1
        self.well_since = float("inf")

    def begin(self) -> None:
        """Has it look, if it does not."""
        with self._lock:
            if not self._is_on:
                self._is_on = True
                threading.Thread(target=self._run, name="watch-redis", daemon=True).start()

    def _run(self) -> None:
        while not self._is_over():
            try:
                self._look()
            except TierError:
                # The tier that could not be told has a breaker of its own, which says why.
                pass
            except Exception:
                self._instruments.round_failed("watch-redis")
                log.exception("watch_failed")
            time.sleep(LOOK_SECONDS if self._breaker.is_closed else OUT_SECONDS)

    def _is_over(self) -> bool:
        with self._lock:
            self._is_on = self._is_wanted()
            if not self._is_on:
                self.well_since = float("inf")
            return not self._is_on

    def _look(self) -> None:
        if self._breaker.is_closed:
            self._ask()
        opened = self._breaker.state().opened
        if not self._breaker.is_closed or opened != self._opened:
            self._opened = opened
            self.well_since = float("inf")
        if not self._breaker.is_closed:
            self._while_out()
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
