"""What a check of the doctor says."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import msgspec

from storage.errors import TierError

CLOCK_TOLERANCE_SECONDS = 1.0
Answer = TypeVar("Answer")


class Finding(msgspec.Struct, frozen=True):
    """One check: what was found, whether that is as it should be, and else what to do."""

    tier: str
    check: str
    ok: bool
    found: str
    advice: str = ""


def found(tier: str, check: str, ok: bool, value: object, advice: str) -> Finding:
    """A finding; the advice stays only where it is needed."""
    return Finding(tier, check, ok, str(value), "" if ok else advice)


def clock(tier: str, ahead_seconds: float) -> Finding:
    """How far a server's clock is from this machine's."""
    return found(
        tier,
        "clock",
        abs(ahead_seconds) <= CLOCK_TOLERANCE_SECONDS,
        f"{ahead_seconds:+.3f} s from this machine's",
        "let NTP set the clocks of all machines; ids and times are taken from them",
    )


def ahead_seconds(moment: datetime, before: datetime, after: datetime) -> float:
    """How far a clock that was read between two moments of our own is ahead."""
    return (moment - (before + (after - before) / 2)).total_seconds()


def guarded(tier: str, check: str, look: Callable[[], list[Finding]], advice: str) -> list[Finding]:
    """The findings of a look; a tier that does not answer, or not to this, is one of its own."""
    try:
        return look()
    except TierError as error:
        return [Finding(tier, check, False, error.reason, advice)]


def version_tuple(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
