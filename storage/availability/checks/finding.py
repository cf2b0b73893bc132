"""What a check says: of a server, a setting or a clock."""

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import takewhile
from typing import Literal, NamedTuple

import msgspec

from storage.errors import TierError

CLOCK_TOLERANCE_SECONDS = 1.0

Severity = Literal["refuse", "weaker", "down", "advice"]
"""`refuse`: no process runs with this. `weaker`: it runs, and `promise` does not hold. `down`: the
tier gave no answer, and the others take over. `advice`: something for a person to do."""

ACKNOWLEDGED = "an acknowledged message survives a crash of Redis (durability: memory)"
COMMITTED = "a committed message survives a crash of PostgreSQL"
ARCHIVED = "an archived message survives a crash of ClickHouse"
LEAST_RIGHTS = "a program that is broken into reaches no further than its own rights"
TIMES = "ids, times and lifetimes are true to a second"
ROOM = "Redis keeps taking messages while PostgreSQL is away"


class Rule(NamedTuple):
    """What a person is to do where a check fails, how bad that is, and the promise that is weaker
    then."""

    advice: str
    severity: Severity = "advice"
    promise: str = ""


class Finding(msgspec.Struct, frozen=True):
    """One check: what was found, whether that is as it should be, and else what to do.

    `severity` only where it is not as it should be, `promise` only where one is weaker.
    """

    tier: str
    check: str
    ok: bool
    found: str
    advice: str = ""
    severity: Severity | None = None
    promise: str = ""

    @property
    def line(self) -> str:
        """The finding for a person: `tier: check: what was found - what to do`."""
        text = f"{self.tier}: {self.check}: {self.found}"
        return f"{text} - {self.advice}" if self.advice else text


def found(
    tier: str,
    check: str,
    ok: bool,
    value: object,
    advice: str,
    severity: Severity = "advice",
    promise: str = "",
) -> Finding:
    """A finding; advice, severity and promise stay only where they are needed."""
    if ok:
        return Finding(tier, check, True, str(value))
    return Finding(tier, check, False, str(value), advice, severity, promise)


def findings(
    tier: str, rules: Mapping[str, Rule], judged: Mapping[str, tuple[bool, object]]
) -> list[Finding]:
    """The findings of several checks, each given as whether all is well, and what was found."""
    return [found(tier, check, ok, value, *rules[check]) for check, (ok, value) in judged.items()]


def clock(tier: str, ahead_seconds: float) -> Finding:
    """How far a server's clock is from this machine's."""
    return found(
        tier,
        "clock",
        abs(ahead_seconds) <= CLOCK_TOLERANCE_SECONDS,
        f"{ahead_seconds:+.3f} s from this machine's",
        "let NTP set the clocks of all machines; ids and times are taken from them",
        "weaker",
        TIMES,
    )


def ahead_seconds(moment: datetime, before: datetime, after: datetime) -> float:
    """How far a clock that was read between two moments of our own is ahead."""
    return (moment - (before + (after - before) / 2)).total_seconds()


def guarded(tier: str, check: str, ask: Callable[[], list[Finding]], advice: str) -> list[Finding]:
    """What is found in asking a tier. One that does not answer is a finding too."""
    try:
        return ask()
    except TierError as error:
        return [Finding(tier, check, False, error.reason, advice, "down")]


def is_older(version: str, oldest: tuple[int, ...]) -> bool:
    """Whether the leading numbers of a version are below those of the oldest that will do."""
    return tuple(map(int, takewhile(str.isdigit, version.split(".")))) < oldest


def waiting(count: int, oldest_seconds: float) -> str:
    """How much waits, in words."""
    return f"{count:,} waiting" + (f", the oldest for {oldest_seconds:.1f} s" if count else "")
