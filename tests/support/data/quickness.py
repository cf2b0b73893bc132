"""How quick the answers of a trial were, and whether a disturbance made them slower."""

from collections.abc import Iterable

from selftest.load.samples import RequestSample
from support.faults.trial import Trial

QUICK_MS = 100.0
NOISE = 3
"""By so much may a busy machine alone make one part of a trial slower than another."""


def timely(trial: Trial, samples: Iterable[RequestSample]) -> list[RequestSample]:
    """Those that fell into no moment in which the machine itself stalled."""
    stalls = trial.traffic.stalls
    return [each for each in samples if not stalls.seconds_within(each.began, each.ended)]


def p95_ms(trial: Trial, samples: Iterable[RequestSample], *verbs: str) -> float:
    """What 95 of 100 answers to these verbs stay below, in milliseconds, while the machine is
    well."""
    asked = [each for each in samples if each.verb in verbs]
    took = sorted((each.ended - each.began) * 1000 for each in timely(trial, asked))
    assert len(took) >= 20, f"{len(took)} answers are too few to say how quick they were"
    return took[int(len(took) * 0.95)]


def stays_quick(trial: Trial, *verbs: str, after_seconds: float = 0.0) -> None:
    """Fails where answers from so long after the last disturbance began were neither quick nor as
    quick as those before it."""
    began = trial.fault_began
    before = p95_ms(trial, [each for each in trial.samples if each.ended < began], *verbs)
    since = began + after_seconds
    during = p95_ms(trial, [each for each in trial.samples if each.began >= since], *verbs)
    allowed = max(QUICK_MS, NOISE * before)
    assert during < allowed, f"p95 of {verbs}: {during:.0f} ms, {before:.0f} ms before"
