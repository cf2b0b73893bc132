"""Acknowledgements of 300-byte messages: Threadkeep, its peers and the empty route, alternated."""

import itertools
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from rich.table import Table

from benchmarks import load
from benchmarks.bench.designs import EMPTY, OURS, USERS, Bench, Design
from benchmarks.bench.lag import Lags, measure_lags, percentile
from benchmarks.bench.measuring import (
    GENERATOR,
    LoadPlan,
    LoadRun,
    measure,
    median_run,
    ratio,
)

BODY = b'{"message":"' + b"x" * 300 + b'"}'
THREADS_PER_CLIENT = 4
WARM_SECONDS = 1.0
SHOWN_MICROS = 0.5
ONE, SOME, MANY = CLIENTS = (1, 10, 64)
"""The last keep everything busy: at so many the lags are measured."""


class AckResults(NamedTuple):
    """The runs of each design with so many clients, one a round, and Threadkeep's lags."""

    runs: Mapping[tuple[str, int], Sequence[LoadRun]]
    lags: Lags

    def against(self, name: str, clients: int, figure: str) -> float:
        """A figure of Threadkeep's divided by that of another design: the median of the rounds."""
        ours, theirs = self.runs[OURS, clients], self.runs[name, clients]
        return ratio(map(attrgetter(figure), ours), map(attrgetter(figure), theirs))


def measure_acknowledgements(
    bench: Bench, designs: Sequence[Design], rounds: int, seconds: float
) -> AckResults:
    """Measures every design in every round; who begins changes from round to round."""
    for design in designs:
        measure(design, ack_plan(bench, design, MANY, WARM_SECONDS))
    runs: dict[tuple[str, int], list[LoadRun]] = {}
    lags = Lags([], [])
    for at in range(rounds):
        order = [*designs[at % len(designs) :], *designs[: at % len(designs)]]
        for clients, design in itertools.product(CLIENTS, order):
            plan = ack_plan(bench, design, clients, seconds)
            runs.setdefault((design.name, clients), []).append(measure(design, plan))
        found = measure_lags(bench, ack_plan(bench, bench.ours(), MANY, seconds))
        lags = Lags(lags.postgres + found.postgres, lags.clickhouse + found.clickhouse)
    return AckResults(runs, lags)


def ack_plan(bench: Bench, design: Design, clients: int, seconds: float) -> LoadPlan:
    """Each client posts as a user of its own, to its threads in turn."""

    def requests(number: int) -> load.Requests:
        token = bench.token(f"{USERS}{number}")
        paths = [f"/api/threads/thread-{at}/messages" for at in range(THREADS_PER_CLIENT)]
        return itertools.cycle([load.post(design.url, path, token, BODY) for path in paths])

    return LoadPlan(clients, seconds, requests)


def tables(results: AckResults) -> list[Table]:
    """Rates and latencies, processor times, and lags."""
    spent = [_processor_table(results, clients) for clients in CLIENTS]
    return [_rates_table(results), *spent, _lag_table(results.lags)]


def _rates_table(results: AckResults) -> Table:
    """Rates and latencies of every design with each number of clients."""
    table = Table(title="Acknowledgements, 300-byte messages, medians of alternated rounds")
    for heading in (
        "clients", "design", "acked/s", "ours ÷ it", "landed/s", "ours ÷ it",
        "p50 ms", "p95", "p99", "slowest",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "design" else "right")
    for (name, clients), runs in sorted(results.runs.items(), key=lambda item: item[0][1]):
        run = median_run(runs)
        is_other = name != OURS
        figures = (run.p50, run.p95, run.p99, run.slowest)
        table.add_row(
            f"{clients}",
            name,
            f"{run.acknowledged:,.0f}",
            f"{results.against(name, clients, 'acknowledged'):.2f}" if is_other else "",
            f"{run.landed:,.0f}" if name != EMPTY else "",
            f"{results.against(name, clients, 'landed'):.2f}" if is_other and name != EMPTY else "",
            *(f"{figure:.1f}" for figure in figures),
        )
    return table


def _processor_table(results: AckResults, clients: int) -> Table:
    """Microseconds of processor time of each process for one message."""
    runs = {
        name: median_run(found) for (name, count), found in results.runs.items() if count == clients
    }
    processes = dict.fromkeys(process for run in runs.values() for process in run.micros)
    table = Table(title=f"Processor time of a message in µs, clients: {clients}")
    table.add_column("")
    for name in runs:
        table.add_column(name, justify="right")
    for process in processes:
        spent = [run.micros.get(process) for run in runs.values()]
        if process != GENERATOR and any(one and one >= SHOWN_MICROS for one in spent):
            table.add_row(process, *map(_micros, spent))
    table.add_row("all of these", *(_micros(run.total_micros) for run in runs.values()))
    table.add_row(GENERATOR, *(_micros(run.micros[GENERATOR]) for run in runs.values()))
    return table


def _micros(spent: float | None) -> str:
    return "" if spent is None else f"{spent:,.0f}"


def _lag_table(lags: Lags) -> Table:
    """From the acknowledgement until a message is seen in the databases."""
    table = Table(title=f"Behind the acknowledgement, {MANY} clients, ms")
    for heading in ("", "p50", "p99", "slowest"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in (("PostgreSQL", lags.postgres), ("ClickHouse", lags.clickhouse)):
        table.add_row(name, *(f"{percentile(found, share):,.0f}" for share in (0.5, 0.99, 1.0)))
    return table
