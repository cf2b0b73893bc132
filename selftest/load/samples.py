"""All answers with their times: which were late, and counts by outcome."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from selftest.faults.episodes import Episode
from selftest.record.account import OK, UNAVAILABLE
from selftest.record.client import Answer, Outcome
from selftest.record.findings import Invariant, Violation
from selftest.record.stalls import Stalls

LONGEST_ANSWER_SECONDS = 5.0
WEB = "web"
WEB_FROZEN = "web frozen"


class RequestSample(msgspec.Struct, frozen=True, kw_only=True):
    """One request without its content. Times as in `selftest.record.client.Answer`."""

    verb: Literal["create", "edit", "delete", "read"]
    outcome: Outcome
    status: int
    tier_used: str
    connected: float
    began: float
    ended: float


class WriteCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of writes: acknowledged by tier, refused with a 503, without an answer.

    `reads` counts successful reads; the times are those of all requests.
    """

    acknowledged: dict[str, int]
    unavailable: int
    unanswered: int
    reads: int
    slowest_ms: float
    p99_ms: float


def sample_of(answer: Answer, verb: Literal["create", "edit", "delete", "read"]) -> RequestSample:
    """Return an answer's times, without the tier of an acknowledgement, which is in the body."""
    return RequestSample(
        verb=verb,
        outcome=answer.outcome,
        status=answer.status,
        tier_used="",
        connected=answer.connected,
        began=answer.began,
        ended=answer.ended,
    )


def figures(samples: Iterable[RequestSample]) -> WriteCounts:
    """Count samples."""
    found = list(samples)
    writes = [each for each in found if each.verb != "read"]
    took = sorted((each.ended - each.began) * 1000 for each in found)
    return WriteCounts(
        acknowledged=dict(Counter(each.tier_used for each in writes if each.status == OK)),
        unavailable=sum(each.status == UNAVAILABLE for each in writes),
        unanswered=sum(each.outcome != "answered" for each in writes),
        reads=sum(each.verb == "read" and each.status == OK for each in found),
        slowest_ms=round(took[-1], 1) if took else 0.0,
        p99_ms=round(took[int(len(took) * 0.99)], 1) if took else 0.0,
    )


def during(samples: Sequence[RequestSample], began: float, ended: float) -> list[RequestSample]:
    """Return the samples that overlap a time."""
    return [each for each in samples if each.began <= ended and each.ended >= began]


def judge_times(
    samples: Sequence[RequestSample], episodes: Sequence[Episode], stalls: Stalls
) -> list[Violation]:
    """Return every request without an answer or with a late one, unless the machine made it late.

    A web process that is killed or frozen answers nobody: requests to it meanwhile are no
    violation, nor is a dead connection that was made before it was killed.
    """

    def is_late(sample: RequestSample) -> bool:
        return _is_late(sample) and not _is_by_machine(sample, stalls)

    wrong: list[tuple[str, Callable[[RequestSample], bool]]] = [
        ("a request was answered after more than 5 s", is_late),
        ("a request had no answer though nobody touched the web process", _is_lost),
    ]
    return [
        _violation(what, sample, episodes)
        for what, is_wrong in wrong
        for sample in samples
        if is_wrong(sample) and not _is_excused(sample, episodes)
    ]


def times_not_judged(
    samples: Sequence[RequestSample], episodes: Sequence[Episode], stalls: Stalls
) -> list[Violation]:
    """Return every late answer that might have come in time if the machine had not stalled."""
    return [
        _violation(
            "a request was answered after more than 5 s, but the machine kept everybody waiting",
            sample,
            episodes,
            machine_seconds=round(stalls.slow_seconds_within(sample.began, sample.ended), 3),
        )
        for sample in samples
        if _is_late(sample) and _is_by_machine(sample, stalls) and not _is_excused(sample, episodes)
    ]


def _is_late(sample: RequestSample) -> bool:
    return sample.outcome == "answered" and sample.ended - sample.began > LONGEST_ANSWER_SECONDS


def _is_by_machine(sample: RequestSample, stalls: Stalls) -> bool:
    lost = stalls.slow_seconds_within(sample.began, sample.ended)
    return sample.ended - sample.began - lost <= LONGEST_ANSWER_SECONDS


def _is_lost(sample: RequestSample) -> bool:
    return sample.outcome != "answered"


def _is_excused(sample: RequestSample, episodes: Sequence[Episode]) -> bool:
    for each in episodes:
        since = sample.began
        if sample.outcome == "cut" and each.name != WEB_FROZEN:
            since = sample.connected
        if each.target == WEB and since <= each.ended and sample.ended >= each.began:
            return True
    return False


def _violation(
    what: str, sample: RequestSample, episodes: Sequence[Episode], **more: float
) -> Violation:
    evidence = {
        "verb": sample.verb,
        "outcome": sample.outcome,
        "status": sample.status,
        "seconds": round(sample.ended - sample.began, 3),
        "meanwhile": _meanwhile(sample, episodes),
    }
    return Violation(invariant=Invariant.IN_TIME, what=what, evidence=evidence | more)


def _meanwhile(sample: RequestSample, episodes: Sequence[Episode]) -> list[str]:
    return [
        f"{each.name} ({sample.began - each.began:+.1f} s after its begin)"
        for each in episodes
        if each.began <= sample.ended and each.ended >= sample.began - LONGEST_ANSWER_SECONDS
    ]
