"""How quick the answers of a trial were."""

from collections.abc import Iterable

from selftest.samples import Sample


def p95_ms(samples: Iterable[Sample], *verbs: str) -> float:
    """What 95 of 100 answers to these verbs stay below, in milliseconds."""
    took = sorted((each.ended - each.began) * 1000 for each in samples if each.verb in verbs)
    assert len(took) >= 20, f"{len(took)} answers are too few to say how quick they were"
    return took[int(len(took) * 0.95)]
