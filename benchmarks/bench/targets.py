"""What the project wants of its speed and weight, and whether a run met it."""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rich.table import Table

from benchmarks.bench.acknowledgements import MANY, ONE, AckResults
from benchmarks.bench.designs import EMPTY, FASTAPI, ONE_TASK, OURS
from benchmarks.bench.growth import GrowthStage, growth_of
from benchmarks.bench.lag import percentile
from benchmarks.bench.measuring import ratio
from benchmarks.bench.reads import BATCHES, LISTS, MESSAGE, PAGES, ReadResults
from benchmarks.idle import IdleFigures


class BenchTarget(NamedTuple):
    """A figure and its bound."""

    name: str
    found: float
    is_met: Callable[[float, float], bool]
    bound: float
    unit: str = ""

    def row(self) -> tuple[str, str, str, str]:
        """The cells of the table."""
        sign = "≥" if self.is_met is operator.ge else "≤"
        met = "met" if self.is_met(self.found, self.bound) else "NOT MET"
        return self.name, f"{self.found:,.2f}{self.unit}", f"{sign} {self.bound:g}{self.unit}", met


def of_acknowledgements(results: AckResults) -> Iterator[BenchTarget]:
    """An acknowledgement near the cost of HTTP, and a landing that keeps up."""
    least, most = operator.ge, operator.le

    def against(name: str, figure: str) -> float:
        return results.against(name, MANY, figure)

    rate, landed = "acknowledged", "landed"
    yield BenchTarget("acknowledged ÷ FastAPI + asyncpg", against(FASTAPI, rate), least, 2.4)
    yield BenchTarget("acknowledged ÷ one task per message", against(ONE_TASK, rate), least, 4)
    yield BenchTarget("landed ÷ one task per message", against(ONE_TASK, landed), least, 10)
    yield BenchTarget("acknowledged ÷ empty route", against(EMPTY, rate), least, 0.55)
    in_postgres = percentile(results.lags.postgres, 0.99)
    in_clickhouse = percentile(results.lags.clickhouse, 0.99)
    yield BenchTarget("PostgreSQL behind, p99", in_postgres, most, 300, " ms")
    yield BenchTarget("ClickHouse behind, p99", in_clickhouse, most, 3_000, " ms")
    alone = results.against(FASTAPI, ONE, "p50")
    yield BenchTarget("one client: p50 ÷ FastAPI + asyncpg", alone, most, 1)
    floor = (run.micros["web"] for run in results.runs[EMPTY, MANY])
    spent = ratio((run.total_micros for run in results.runs[OURS, MANY]), floor)
    yield BenchTarget("processor time of a message ÷ empty route", spent, most, 2.6)


def of_reads(results: ReadResults) -> Iterator[BenchTarget]:
    """Shares of the empty route's rate."""
    least = operator.ge
    yield BenchTarget(
        "batches of 500, messages landed ÷ empty route", results.share(BATCHES), least, 2.5
    )
    yield BenchTarget("one message ÷ empty route", results.share(MESSAGE), least, 0.5)
    yield BenchTarget("a page of 50 from Redis ÷ empty route", results.share(PAGES), least, 0.35)
    yield BenchTarget("a list of 50 threads ÷ empty route", results.share(LISTS), least, 0.3)


def of_growth(stages: Sequence[GrowthStage]) -> Iterator[BenchTarget]:
    """A cost that does not grow with what is kept."""
    name = f"cost of a message, {stages[-1].kept:,} kept ÷ {stages[0].kept:,}"
    yield BenchTarget(name, growth_of(stages), operator.le, 1.25)


def of_idle(figures: IdleFigures) -> Iterator[BenchTarget]:
    """A stack that sleeps."""
    most = operator.le
    yield BenchTarget("idle, of a core", figures.share, most, 3, " %")
    yield BenchTarget("idle, proportional memory", figures.memory_mb, most, 750, " MB")
    yield BenchTarget("installed for serving", figures.environment_mb, most, 900, " MB")
    yield BenchTarget("threadkeep token", figures.token_seconds, most, 0.4, " s")
    yield BenchTarget("warm start", figures.start_seconds, most, 6, " s")


def targets_table(targets: Sequence[BenchTarget]) -> Table:
    """Every target, met or not."""
    table = Table(title=f"The project's targets, at {MANY} clients unless they say otherwise")
    for heading in ("", "measured", "target", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for target in targets:
        table.add_row(*target.row())
    return table
