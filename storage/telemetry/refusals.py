"""Tells of callers who were refused: a count of each, and a log line of the first few of a minute.

Whoever guesses tokens must not fill the disk with lines, nor hide among them.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

import structlog

from storage.telemetry.addresses import network_of
from storage.telemetry.instruments import Refusal

log = structlog.get_logger(__name__)

MINUTE_SECONDS = 60.0
LINES_OF_ONE = 3
"""Lines of one address, or network of IPv6 addresses, in a minute."""
LINES_OF_ALL = 30
MOST_ADDRESSES = 1_000
"""How many addresses are told apart in a minute; the others are counted together."""
OTHERS = "others"


class RefusalLog:
    """The refusals of one process. Never raises, never waits but for a log line. Safe for threads.

    A minute begins with the first refusal. At its end one line says how many had no line of their
    own, and from where most of them came.
    """

    def __init__(
        self,
        count: Callable[[Refusal], object] = lambda kind: None,
        minute_seconds: float = MINUTE_SECONDS,
    ) -> None:
        """`count` is called with each."""
        self._count = count
        self._minute_seconds = minute_seconds
        self._lock = threading.Lock()
        self._ends_at = float("-inf")
        self._told: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def note(self, kind: Refusal, reason: str, address: str, route: str | None) -> None:
        """A caller at an address was refused, for a reason that is one of a few words. The route is
        its template, None for a path that there is not."""
        self._count(kind)
        if self._has_line(network_of(address)):
            # Not the credential, nor what it says of itself.
            log.warning("refused", kind=kind, reason=reason, address=address, route=route)

    def _has_line(self, network: str) -> bool:
        self._end_minute()
        with self._lock:
            if self._told[network] < LINES_OF_ONE and self._told.total() < LINES_OF_ALL:
                self._told[network] += 1
                return True
            if not self._left_out:
                self._end_later()
            is_known = network in self._left_out or len(self._left_out) < MOST_ADDRESSES
            self._left_out[network if is_known else OTHERS] += 1
            return False

    def _end_later(self) -> None:
        """Ends the minute also if nobody is refused any more."""
        timer = threading.Timer(self._ends_at - time.monotonic(), self._end_minute)
        timer.daemon = True
        timer.start()

    def _end_minute(self) -> None:
        """Begins the next minute if this one is over."""
        now = time.monotonic()
        with self._lock:
            if now < self._ends_at:
                return
            self._ends_at = now + self._minute_seconds
            left_out, self._left_out = self._left_out, Counter()
            self._told.clear()
        if left_out:
            ((address, count),) = left_out.most_common(1)
            log.warning(
                "refused_more",
                count=left_out.total(),
                addresses=len(left_out),
                most_from=address,
                most_count=count,
            )
