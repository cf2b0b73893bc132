"""A whole run: load, faults, quiescence and the verdict."""

import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path

import msgspec

from selftest.bed.stack import Testbed, TokenIssuer, testbed
from selftest.faults.disturbance import Step, sequence
from selftest.faults.episodes import Episode, Episodes
from selftest.load.readers import Reader
from selftest.load.samples import (
    RequestSample,
    WriteCounts,
    during,
    figures,
    judge_times,
    times_not_judged,
)
from selftest.load.traffic import Load, Traffic, running
from selftest.load.writers import LoadWriter
from selftest.record.account import Account
from selftest.record.findings import Findings, Invariant, Violation
from selftest.record.ledger import RequestLedger
from selftest.verdict.checker import check
from selftest.verdict.evidence import gather
from selftest.verdict.quiescence import DEADLINE_SECONDS, wait_until_quiet
from storage.errors import TierError

LEDGER_FILE = "ledger.jsonl"
HOT_PAGE_MESSAGES = 50
"""Small enough that threads outgrow it, so that lists are merged from several tiers."""


class Disturbed(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of fault in a run: how often, how many seconds in all, and the writes meanwhile."""

    name: str
    times: int
    seconds: float
    meanwhile: WriteCounts


class RunVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """All violations, what the machine was too slow to judge, and the seconds until nothing waited
    to be carried to a slower tier."""

    violations: list[Violation]
    not_judged: list[Violation]
    quiet_seconds: float


class SelftestResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run. It `held` if there is no violation and nothing was `not_judged`.

    `quiet_seconds` is the time from the last fault until nothing waited to be carried on.
    `operations` counts requested writes, `acknowledged` messages with an acknowledged creation.
    """

    seed: int
    seconds: float
    held: bool
    operations: int
    acknowledged: int
    edited_or_deleted: int
    quiet_seconds: float
    totals: WriteCounts
    disturbed: list[Disturbed]
    violations: list[Violation]
    not_judged: list[Violation]


@contextmanager
def under_load(bed: Testbed, folder: Path, load: Load, seed: int) -> Iterator[Traffic]:
    """Write and read during the block; the ledger is a new file in `folder`.

    At the end of the block every client has had its last answer.
    """
    name = f"selftest-{secrets.token_hex(4)}"
    with RequestLedger(folder / f"{name}-{LEDGER_FILE}") as ledger:
        traffic = Traffic(ledger, Account(), Findings(), bed.client, name)
        writers = [LoadWriter(traffic, load, number, seed) for number in range(load.writers)]
        readers = [Reader(traffic, load, number, seed) for number in range(load.readers)]
        with running(traffic, [*(w.run for w in writers), *(r.run for r in readers)]):
            yield traffic


def conclude(
    bed: Testbed,
    traffic: Traffic,
    episodes: list[Episode],
    seconds: float = DEADLINE_SECONDS,
    lost: Set[str] = frozenset(),
) -> RunVerdict:
    """Wait until the backlog has drained, `seconds` at most, read every tier, and judge.

    Nobody may write any more, and every fault must have ended. Messages `lost` on purpose are
    reported like all others, but not waited for.
    """
    began = time.monotonic()
    left = wait_until_quiet(bed.services, traffic.account, seconds, lost)
    quiet_seconds = round(time.monotonic() - began, 2)
    found = traffic.findings.all() + judge_times(traffic.samples, episodes, traffic.stalls)
    if left:
        what = f"after {seconds:g} s {left}"
        found.append(Violation(invariant=Invariant.RECOVERY, what=what))
    found += [
        Violation(invariant=Invariant.RECOVERY, what=each.failure, evidence={"after": each.name})
        for each in episodes
        if each.failure
    ]
    try:
        evidence = gather(bed.services, traffic.account, bed.client)
    except TierError as error:
        what = f"a tier does not answer after the end: {error}"
        found.append(Violation(invariant=Invariant.RECOVERY, what=what))
    else:
        found += check(evidence)
    not_judged = times_not_judged(traffic.samples, episodes, traffic.stalls)
    return RunVerdict(violations=found, not_judged=not_judged, quiet_seconds=quiet_seconds)


def run(
    issue: TokenIssuer,
    seed: int,
    seconds: float,
    load: Load,
    folder: Path,
    say: Callable[[str], object] = lambda line: None,
) -> SelftestResult:
    """Run on a stack of its own in `folder`, which must exist and stays.

    Raises:
        StackFailed: The stack did not start.
    """
    variables = {"THREADKEEP_HOT_PAGE_MESSAGES": str(HOT_PAGE_MESSAGES)}
    with testbed(folder, issue, has_sockets=False, **variables) as bed:
        say(f"the stack is up; injecting faults for {seconds:g} s, seed {seed}")
        episodes = Episodes(bed)
        began = time.monotonic()
        with under_load(bed, folder, load, seed) as traffic:
            for step in _steps(seed, began + seconds, traffic):
                say(f"  {' and '.join(each.name for each, _ in step.parts)}")
                episodes.perform(step, began + seconds, traffic.stopping)
        disturbed_until = time.monotonic()
        say("waiting until the backlog has drained, then comparing")
        verdict = conclude(bed, traffic, episodes.past)
        # The programs' own logs go with their stack.
        (folder / "logs-at-the-end").write_text(bed.logs())
    return _result(seed, disturbed_until - began, traffic, episodes, verdict)


def _steps(seed: int, until: float, traffic: Traffic) -> Iterator[Step]:
    """Injects faults until the time is over, after a moment of calm."""
    traffic.pause(1.0)
    for step in sequence(seed):
        if time.monotonic() >= until or traffic.ended:
            return
        yield step


def _result(
    seed: int,
    seconds: float,
    traffic: Traffic,
    episodes: Episodes,
    verdict: RunVerdict,
) -> SelftestResult:
    histories = traffic.account.histories()
    return SelftestResult(
        seed=seed,
        seconds=round(seconds, 1),
        held=not verdict.violations and not verdict.not_judged,
        operations=next(traffic.operations),
        acknowledged=sum(bool(each.ids) for each in histories),
        edited_or_deleted=sum(each.version > 1 for each in histories),
        quiet_seconds=verdict.quiet_seconds,
        totals=figures(traffic.samples),
        disturbed=_disturbed(traffic.samples, episodes.past),
        violations=verdict.violations,
        not_judged=verdict.not_judged,
    )


def _disturbed(samples: list[RequestSample], episodes: list[Episode]) -> list[Disturbed]:
    by_name: dict[str, list[Episode]] = {}
    for episode in episodes:
        by_name.setdefault(episode.name, []).append(episode)
    return [
        Disturbed(
            name=name,
            times=len(found),
            seconds=round(sum(each.ended - each.began for each in found), 1),
            meanwhile=figures(
                itertools.chain.from_iterable(
                    during(samples, each.began, each.ended) for each in found
                )
            ),
        )
        for name, found in by_name.items()
    ]


def by_invariant(violations: list[Violation]) -> Mapping[Invariant, list[Violation]]:
    """Violations by invariant; every invariant is there, most with none."""
    return {each: [one for one in violations if one.invariant == each] for each in Invariant}
