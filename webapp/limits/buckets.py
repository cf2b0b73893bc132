"""Token buckets: each caller has one for each class of calls."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import msgspec

Class = Literal["write", "read", "search", "heavy", "unauthenticated"]
"""A class of calls, as `RateLimit` and metrics name it."""

BURST_SECONDS = 2
"""The burst of a limit that gives none: so many seconds of its rate."""


ROUNDING = 0.001
"""Of a token: more than what is lost where the clock's figures are rounded."""


class Rate(NamedTuple):
    """A limit: calls a second, and how many at once after a pause."""

    per_second: float
    burst: float

    @classmethod
    def of(cls, given: str) -> "Rate | None":
        """A rate written as `rate:burst` or `rate`; None for 0, which sets no limit."""
        rate, _, burst = given.partition(":")
        per_second = float(rate)
        if not per_second:
            return None
        return cls(per_second, max(1.0, float(burst) if burst else per_second * BURST_SECONDS))


class RateLimited(Exception):
    """A caller asked for more than a limit allows. The text is for a person."""

    def __init__(self, limit: str, retry_after: int, detail: str) -> None:
        super().__init__(detail)
        self.limit = limit
        self.retry_after = retry_after
        """Seconds until it may succeed."""


class Bucket(msgspec.Struct):
    """The bucket of one caller. It is full again at `full_at`, by the monotonic clock; `taken` is
    what this process took since the last exchange, `seen` the total at that exchange, if there was
    one."""

    full_at: float
    taken: int = 0
    seen: int | None = None


class Buckets:
    """The buckets of one class of calls (GCRA, the generic cell rate algorithm).

    Threads take tokens without a lock: two that do so in the same moment may take one together.
    """

    def __init__(self, name: Class, rate: Rate, on_new: Callable[[], None]) -> None:
        """`on_new` is called when a caller gets a bucket."""
        self.name = name
        self.rate = rate
        window = math.ceil(rate.burst / rate.per_second)
        self._policy = ("RateLimit-Policy", f'"{name}";q={int(rate.burst)};w={window}')
        self._on_new = on_new
        self._token_seconds = 1 / rate.per_second
        self._depth_seconds = rate.burst / rate.per_second
        self._buckets: dict[str, Bucket] = {}

    def take(self, caller: str) -> int:
        """Takes a token; gives how many are left, or -1 where there was none."""
        now = time.monotonic()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = Bucket(now)
            self._on_new()
        full_at = (bucket.full_at if bucket.full_at > now else now) + self._token_seconds
        left = (self._depth_seconds - (full_at - now)) * self.rate.per_second + ROUNDING
        if left < 0:
            return -1
        bucket.full_at = full_at
        bucket.taken += 1
        return int(left)

    def refusal(self, caller: str) -> RateLimited:
        """The error for a caller whose bucket is empty."""
        bucket = self._buckets.get(caller)
        ahead = bucket.full_at - time.monotonic() if bucket else 0.0
        seconds = math.ceil(ahead + self._token_seconds - self._depth_seconds)
        detail = f"at most {self.rate.per_second:g} calls a second of the class {self.name}"
        return RateLimited(self.name, max(1, seconds), f"{detail}, and {self.rate.burst:g} at once")

    def headers(self, left: int) -> list[tuple[str, str]]:
        """`RateLimit` and `RateLimit-Policy` of an answer (draft-ietf-httpapi-ratelimit-headers):
        so many tokens are left, and the bucket is full again after `t` seconds."""
        left = 0 if left < 0 else left
        # Rounded up, without a call: each post comes by here.
        until_full = -int((left - self.rate.burst) * self._token_seconds // 1)
        return [("RateLimit", f'"{self.name}";r={left};t={until_full}'), self._policy]

    def charge(self, caller: str, tokens: int) -> None:
        """Takes what other processes took, even where there is less."""
        bucket = self._buckets.get(caller)
        if bucket is not None:
            full_at = max(bucket.full_at, time.monotonic()) + tokens * self._token_seconds
            bucket.full_at = full_at

    def sweep(self) -> Iterator[tuple[str, Bucket]]:
        """The buckets in use, without those that are full, which are forgotten."""
        now = time.monotonic()
        for caller, bucket in list(self._buckets.items()):
            if bucket.full_at <= now:
                self._buckets.pop(caller, None)
            else:
                yield caller, bucket

    @property
    def is_empty(self) -> bool:
        """Whether all buckets are full."""
        return not self._buckets
