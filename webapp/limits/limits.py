"""The limits of a process: which class a call belongs to, and what its caller has left."""

from typing import NamedTuple

from settings import Settings
from storage.telemetry.addresses import network_of
from storage.telemetry.instruments import Instruments
from webapp.limits.buckets import Buckets, Class, Rate, RateLimited
from webapp.limits.exchange import Exchange
from webapp.limits.shared_counts import SharedCounts

TAKEN = "threadkeep.limits.taken"
"""Where the environment of a request has what is left after the token that a lane took for it."""
REFUSED = "threadkeep.limits.refused"
"""Where it has why the door did not give a request a turn."""

_SEARCH = ("search.",)
_HEAVY = ("analytics.", "batch.", "health.persistence")
"""How the endpoints begin whose class is not that of their method."""
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class TakenToken(NamedTuple):
    """A token that a call took: which buckets it is from, and how many its caller has left; -1 if
    there was none."""

    buckets: Buckets
    left: int

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers of the answer."""
        return self.buckets.headers(self.left)


class Limits:
    """The limits of one process. `write` and `read` are None where none is set."""

    def __init__(self, settings: Settings, counts: SharedCounts, instruments: Instruments) -> None:
        self._instruments = instruments
        exchange = Exchange(counts, instruments)

        def buckets(name: Class, given: str) -> Buckets | None:
            rate = Rate.of(given)
            return exchange.add(Buckets(name, rate, exchange.begin)) if rate else None

        self.write = buckets("write", settings.limit_writes)
        self.read = buckets("read", settings.limit_reads)
        self._search = buckets("search", settings.limit_searches)
        self._heavy = buckets("heavy", settings.limit_heavy)
        self._unauthenticated = buckets("unauthenticated", settings.limit_unauthenticated)

    def take(
        self, endpoint: str, method: str, user_id: str, left: int | None = None
    ) -> TakenToken | None:
        """A token for a call, None where it has no limit. With `left` it was taken already."""
        buckets = self._class_of(endpoint, method)
        if left is None or buckets is None:
            return self.take_of(buckets, user_id)
        return TakenToken(buckets, left)

    def take_of(self, buckets: Buckets | None, user_id: str) -> TakenToken | None:
        """A token of some buckets."""
        return None if buckets is None else TakenToken(buckets, buckets.take(user_id))

    def check(self, taken: TakenToken | None, caller: str) -> None:
        """Raises `RateLimited` where a caller has no token left, and counts that."""
        if taken is not None and taken.left < 0:
            raise self.counted(taken.buckets.refusal(caller))

    def check_unauthenticated(self, address: str) -> None:
        """Takes a token of an address whose caller is not known. Raises `RateLimited`."""
        caller = network_of(address)
        self.check(self.take_of(self._unauthenticated, caller), caller)

    def counted(self, refused: RateLimited) -> RateLimited:
        """The refusal, counted."""
        self._instruments.rate_limited(refused.limit)
        return refused

    def _class_of(self, endpoint: str, method: str) -> Buckets | None:
        if endpoint.startswith(_SEARCH):
            return self._search
        if endpoint.startswith(_HEAVY):
            return self._heavy
        return self.read if method in _READS else self.write
