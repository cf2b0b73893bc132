"""How the cost of a message grows with what is kept: one user's messages and threads."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.table import Table

from benchmarks import load
from benchmarks.bench import history
from benchmarks.bench.acknowledgements import BODY, MANY, ack_plan
from benchmarks.bench.designs import USERS, Bench, Design, count
from benchmarks.bench.measuring import LoadPlan, LoadRun, measure, median_run, ratio

USER = f"{USERS}grows"
STAGES = {1_000: 100, 100_000: 10_000, 1_000_000: 10_000}
"""Kept messages, and the threads they are in."""
DAY_US = 86_400_000_000
WARM_SECONDS = 0.5


class GrowthPlan(NamedTuple):
    """The most messages to be kept, and the rounds of so many seconds at each stage."""

    kept: int
    rounds: int
    seconds: float


class GrowthStage(NamedTuple):
    """The messages that are kept at the beginning, and the runs of Threadkeep and of the empty
    route, one a round."""

    kept: int
    threads: int
    ours: list[LoadRun]
    empty: list[LoadRun]

    @property
    def cost(self) -> float:
        """The processor time of a message as a multiple of the empty route's: what the machine does
        meanwhile is done to both."""
        floor = (run.micros["web"] for run in self.empty)
        return ratio((run.total_micros for run in self.ours), floor)


def measure_growth(
    bench: Bench, empty: Design, plan: GrowthPlan, say: Callable[[str], object]
) -> list[GrowthStage]:
    """Measures stage after stage."""
    ours = bench.ours()
    empty_plan = ack_plan(bench, empty, MANY, plan.seconds)
    stages = []
    for wanted in (stage for stage in STAGES if stage <= plan.kept):
        threads = STAGES[wanted]
        kept = count(bench.engine, "SELECT count(*) FROM messages")
        if kept < wanted:
            say(f"importing {wanted - kept:,} messages")
            now_us = time.time_ns() // 1_000
            made = history.messages(USER, threads, wanted - kept, now_us - 6 * DAY_US, now_us)
            history.add(bench, made)
        posts = _plan(bench, threads, plan.seconds)
        measure(ours, posts._replace(seconds=WARM_SECONDS))
        stage = GrowthStage(max(kept, wanted), threads, [], [])
        for _ in range(plan.rounds):
            stage.ours.append(measure(ours, posts))
            stage.empty.append(measure(empty, empty_plan))
        stages.append(stage)
    return stages


def growth_of(stages: Sequence[GrowthStage]) -> float:
    """The last stage's cost divided by the first's."""
    return stages[-1].cost / stages[0].cost


def growth_table(stages: Sequence[GrowthStage]) -> Table:
    """The cost at each stage."""
    table = Table(title=f"Growth: the cost of a message, {MANY} clients of one user")
    for heading in (
        "kept", "threads", "acked/s", "p50 ms", "p99", "all µs", "empty route µs", "÷ empty route",
        "÷ first",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for stage in stages:
        run, floor = median_run(stage.ours), median_run(stage.empty)
        table.add_row(
            f"{stage.kept:,}",
            f"{stage.threads:,}",
            f"{run.acknowledged:,.0f}",
            f"{run.p50:.1f}",
            f"{run.p99:.1f}",
            f"{run.total_micros:,.0f}",
            f"{floor.micros['web']:,.0f}",
            f"{stage.cost:.2f}",
            f"{stage.cost / stages[0].cost:.2f}",
        )
    return table


def _plan(bench: Bench, threads: int, seconds: float) -> LoadPlan:
    token = bench.token(USER)

    def requests(number: int) -> load.Requests:
        own = range(number, threads, MANY)
        paths = [f"/api/threads/thread-{at:05}/messages" for at in own]
        return itertools.cycle([load.post(bench.stack.url, path, token, BODY) for path in paths])

    return LoadPlan(MANY, seconds, requests)
