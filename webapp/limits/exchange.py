"""The processes tell each other what a caller took, so that a limit holds for all of them together.

Nothing waits for this. While Redis is out each process counts alone, so that a caller gets at most
as many times the limit as there are processes.
"""

from collections.abc import Sequence
from functools import partial

from storage.errors import TierError
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.instruments import Instruments
from webapp.limits.buckets import Bucket, Buckets
from webapp.limits.shared_counts import SharedCounts

EXCHANGE_SECONDS = 1.0
SMALL_SHARE = 8
"""A caller who takes less than this part of a limit in one process is not told to the others: up to
so many processes that cannot be too much."""


class Exchange:
    """The background thread of one process's buckets. It runs while any of them is in use."""

    def __init__(self, counts: SharedCounts, instruments: Instruments) -> None:
        self._counts = counts
        self._all: list[Buckets] = []
        self._thread = PeriodicThread(
            "limits",
            self.round,
            lambda: EXCHANGE_SECONDS,
            "limits_failed",
            on_failure=partial(instruments.round_failed, "limits"),
            is_wanted=lambda: not all(buckets.is_empty for buckets in self._all),
            waits_first=True,
        )
        self.begin = self._thread.begin

    def add(self, buckets: Buckets) -> Buckets:
        """Shares these buckets too."""
        self._all.append(buckets)
        return buckets

    def round(self) -> None:
        """One exchange; also forgets the buckets that are full."""
        busy = [
            (buckets, caller, bucket)
            for buckets in self._all
            for caller, bucket in buckets.sweep()
            if _is_busy(buckets, bucket)
        ]
        if busy:
            self._share(busy)

    def _share(self, busy: Sequence[tuple[Buckets, str, Bucket]]) -> None:
        taken = [bucket.taken for _, _, bucket in busy]
        names = [(buckets.name, caller) for buckets, caller, _ in busy]
        try:
            totals = self._counts.add(names, taken)
        except TierError:
            # The next round tells the others; what they took meanwhile is charged then.
            return
        for (buckets, caller, bucket), own, total in zip(busy, taken, totals, strict=True):
            bucket.taken -= own
            # A count that Redis lost begins anew. At first contact nothing says when it was taken.
            before = total - own if bucket.seen is None else bucket.seen
            others = max(0, total - own - before)
            bucket.seen = total
            if others:
                buckets.charge(caller, others)


def _is_busy(buckets: Buckets, bucket: Bucket) -> bool:
    """Whether the others must hear of it; otherwise what it took is forgotten."""
    if bucket.taken * SMALL_SHARE > buckets.rate.per_second * EXCHANGE_SECONDS:
        return True
    bucket.taken, bucket.seen = 0, None
    return False
