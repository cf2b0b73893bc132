"""How quick the answers of a trial were, and whether a disturbance made them slower."""

from collections.abc import Iterable

from selftest.samples import Sample
from support.trial import Trial

QUICK_MS = 100.0
NOISE = 3
"""By so much may a busy machine alone make one part of a trial slower than another."""


def p95_ms(samples: Iterable[Sample], *verbs: str) -> float:
    """What 95 of 100 answers to these verbs stay below, in milliseconds."""
    took = sorted((each.ended - each.began) * 1000 for each in samples if each.verb in verbs)
    assert len(took) >= 20, f"{len(took)} answers are too few to say how quick they were"
    return took[int(len(took) * 0.95)]


def stays_quick(trial: Trial, *verbs: str, after_seconds: float = 0.0) -> None:
    """Fails where answers from so long after the last disturbance began were neither quick nor as
    quick as those before it."""
    began = trial.fault_began
    before = p95_ms([each for each in trial.samples if each.ended < began], *verbs)
    since = began + after_seconds
    during = p95_ms([each for each in trial.samples if each.began >= since], *verbs)
    allowed = max(QUICK_MS, NOISE * before)
    assert during < allowed, f"p95 of {verbs}: {during:.0f} ms, {before:.0f} ms before"
