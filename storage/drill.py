"""Tiers that this process takes for silent, for a while and on purpose.

The connections to each tier look here first, and fail as if nobody answered. So breakers, probes,
leases and the chain of writes behave in a drill exactly as they do in an outage, because to them
it is one. Nothing is ever set here unless drills are allowed.
"""

import time

from storage.errors import TierUnavailable

REASON = "it does not answer (a drill)"

_silent_until: dict[str, float] = {}
"""By tier, on this process's own clock."""


def silence(tiers: frozenset[str], seconds: float) -> None:
    """Has these tiers, and no others, be silent from now on for so long."""
    until = time.monotonic() + seconds
    for tier in _silent_until.keys() - tiers:
        _silent_until.pop(tier, None)
    for tier in tiers:
        _silent_until[tier] = until


def is_silent(tier: str) -> bool:
    """Whether a drill keeps the tier from answering at this moment."""
    return bool(_silent_until) and time.monotonic() < _silent_until.get(tier, 0.0)


def check(tier: str) -> None:
    """Raises `TierUnavailable` where a drill keeps the tier from answering."""
    if is_silent(tier):
        raise TierUnavailable(tier, REASON)
