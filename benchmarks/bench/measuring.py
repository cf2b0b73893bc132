"""One run of load on a design: rates, latencies, and the processor time of every process."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks import costs, load
from benchmarks.bench.designs import Design, wait_until
from selftest.bed.launching import StackFailed

GENERATOR = "load generator"


class LoadRun(NamedTuple):
    """Acknowledged and committed a second, latencies in milliseconds, and microseconds of processor
    time for each message (or answer) by process, until all its copies were made."""

    acknowledged: float
    landed: float
    p50: float
    p95: float
    p99: float
    slowest: float
    micros: Mapping[str, float]

    @property
    def total_micros(self) -> float:
        """Microseconds of all processes of the design."""
        return sum(spent for name, spent in self.micros.items() if name != GENERATOR)


class LoadPlan(NamedTuple):
    """The load of a run: its clients, and the messages of one request."""

    clients: int
    seconds: float
    requests: Callable[[int], load.Requests]
    beside: Sequence[load.Requests] = ()
    messages: int = 1
    is_read: bool = False
    """Whether nothing has to land."""


def measure(design: Design, plan: LoadPlan) -> LoadRun:
    """Runs a plan once. Raises `StackFailed` at any error."""
    before = design.landed() if design.landed else 0
    spent_before = _spent(design)
    started = time.monotonic()
    sample = load.run(design.url, plan.clients, plan.seconds, plan.requests, plan.beside)
    generator = costs.seconds_of([os.getpid()]) - spent_before[GENERATOR]
    if sample.errors:
        failed = f"{sample.errors} of {len(sample.latencies)} answers"
        raise StackFailed(f"{design.name}: {failed} were not 200: {sample.first_error}")
    count = len(sample.latencies) * plan.messages
    if design.landed and not plan.is_read:
        wait_until(lambda: design.landed is None or design.landed() - before >= count)
    landed_seconds = time.monotonic() - started
    wait_until(design.is_settled)
    acknowledged = sample.per_second * plan.messages
    spent = _spent(design) | {GENERATOR: spent_before[GENERATOR] + generator}
    return LoadRun(
        acknowledged=acknowledged,
        landed=count / landed_seconds if design.landed else acknowledged,
        p50=sample.percentile(0.50),
        p95=sample.percentile(0.95),
        p99=sample.percentile(0.99),
        slowest=sample.percentile(1.0),
        micros={
            name: (seconds - spent_before.get(name, 0.0)) * 1e6 / count
            for name, seconds in spent.items()
        },
    )


def median_run(runs: Sequence[LoadRun]) -> LoadRun:
    """The median of each figure by itself."""
    names = runs[0].micros
    *figures, _ = zip(*runs, strict=True)
    micros = {name: median(run.micros.get(name, 0.0) for run in runs) for name in names}
    acknowledged, landed, p50, p95, p99, slowest = map(median, figures)
    return LoadRun(acknowledged, landed, p50, p95, p99, slowest, micros)


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """The median, over the rounds, of our figure divided by theirs of the same round."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def _spent(design: Design) -> dict[str, float]:
    return costs.seconds_by_name(design.programs()) | {GENERATOR: costs.seconds_of([os.getpid()])}
