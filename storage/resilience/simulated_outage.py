"""Tiers that this process takes for silent, or for slow, for a while and on purpose.

The connections to each tier look here first, and fail as if nobody answered. So breakers, probes,
leases and the chain of writes behave in a drill exactly as they do in an outage, because to them
it is one. Nothing is ever set here unless drills are allowed.
"""

import time
from collections.abc import Mapping

from storage.errors import TierUnavailable

REASON = "it does not answer (a drill)"

_silent_until: dict[str, float] = {}
"""By tier, on this process's own clock."""

_slow_until: dict[str, tuple[float, float]] = {}
"""Likewise, with the seconds that each call waits first."""


def silence(tiers: frozenset[str], seconds: float) -> None:
    """Has these tiers, and no others, be silent from now on for so long."""
    until = time.monotonic() + seconds
    for tier in _silent_until.keys() - tiers:
        _silent_until.pop(tier, None)
    for tier in tiers:
        _silent_until[tier] = until


def slow_down(delays: Mapping[str, float], seconds: float) -> None:
    """Has each call to these tiers, and to no others, wait so many seconds first."""
    until = time.monotonic() + seconds
    for tier in _slow_until.keys() - delays.keys():
        _slow_until.pop(tier, None)
    for tier, delay in delays.items():
        _slow_until[tier] = (until, delay)


def wait(tier: str) -> None:
    """Waits as long as a drill has each call to the tier wait, which is mostly not at all."""
    if _slow_until:
        until, delay = _slow_until.get(tier, (0.0, 0.0))
        if time.monotonic() < until:
            time.sleep(delay)


def is_silent(tier: str) -> bool:
    """Whether a drill keeps the tier from answering at this moment."""
    return bool(_silent_until) and time.monotonic() < _silent_until.get(tier, 0.0)


def check(tier: str) -> None:
    """Raises `TierUnavailable` where a drill keeps the tier from answering."""
    if is_silent(tier):
        raise TierUnavailable(tier, REASON)
