"""Tiers that this process takes for silent, or for slow, for a while and on purpose.

The connections to each tier look here first, and fail as if nobody answered: breakers, leases and
the chain of writes cannot tell a drill from an outage. Nothing is set unless drills are allowed.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from storage.errors import TierUnavailable

REASON = "it does not answer (a drill)"


class _Drill(NamedTuple):
    """`until` is of this process's monotonic clock, `delays` are seconds by tier."""

    until: float
    silent: frozenset[str]
    delays: Mapping[str, float]


_drill: _Drill | None = None


def begin(silent: frozenset[str], delays: Mapping[str, float], seconds: float) -> None:
    """Has some tiers be silent and each call to others wait first, and no others any more."""
    global _drill
    _drill = _Drill(time.monotonic() + seconds, silent, delays) if silent or delays else None


def wait(tier: str) -> None:
    """Waits as long as a drill has each call to the tier wait, which is mostly not at all."""
    drill = _drill
    if drill is not None and tier in drill.delays and time.monotonic() < drill.until:
        time.sleep(drill.delays[tier])


def is_silent(tier: str) -> bool:
    """Whether a drill keeps the tier from answering at this moment."""
    drill = _drill
    return drill is not None and tier in drill.silent and time.monotonic() < drill.until


def check(tier: str) -> None:
    """Raises `TierUnavailable` where a drill keeps the tier from answering."""
    if is_silent(tier):
        raise TierUnavailable(tier, REASON)
