"""`python -m benchmarks.bench`: everything in one run, in less than a quarter of an hour.

Each design is measured in every round, so that a machine whose speed drifts affects all alike;
figures are medians of the rounds, and ratios are medians of the ratios of each round. An error
among the answers ends the run with status 1.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import structlog
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import idle
from benchmarks.bench import acknowledgements, growth, reads, targets
from benchmarks.bench.designs import Bench
from benchmarks.stack import launched_stack
from selftest.bed.launching import StackFailed

PARTS = ("idle", "acknowledgements", "reads", "growth")
WIDTH = 250
"""No cell is broken."""


def main() -> int:
    """Measures and prints; gives the exit status."""
    options = _options()
    # An import that is slow on a busy machine is no news here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    say = Console(stderr=True, highlight=False).print
    console = Console(highlight=False, width=WIDTH)
    measures: dict[str, Callable[[], Part]] = {
        "idle": lambda: _idle(options),
        "acknowledgements": lambda: _acknowledgements(options),
        "reads": lambda: _reads(options),
        "growth": lambda: _growth(options, say),
    }
    found: list[targets.BenchTarget] = []
    try:
        for name in options.parts.split(","):
            say(f"measuring {name}")
            started = time.monotonic()
            tables, judged = measures[name]()
            found += judged
            for table in tables:
                _print(console, table)
            say(f"{name}: {time.monotonic() - started:.0f} s")
    except (StackFailed, OSError) as error:
        say(str(error), markup=False)
        return 1
    _print(console, targets.targets_table(found))
    return 0


Part = tuple[list[Table], Iterator[targets.BenchTarget]]
"""The tables of a part, and its targets."""


def _print(console: Console, table: Table) -> None:
    """Prints a table as Markdown: what a document takes is what a terminal shows."""
    console.print(f"\n### {table.title}\n")
    table.title, table.box = None, box.MARKDOWN
    console.print(table)


@contextmanager
def _bench() -> Iterator[Bench]:
    with launched_stack() as stack, ExitStack() as cleanup:
        yield Bench(stack, cleanup)


def _idle(options: argparse.Namespace) -> Part:
    figures = idle.measure_idle(options.idle_seconds)
    return [idle.idle_table(figures)], targets.of_idle(figures)


def _acknowledgements(options: argparse.Namespace) -> Part:
    with _bench() as bench:
        designs = [bench.ours(), *bench.peers(), bench.empty_route()]
        results = acknowledgements.measure_acknowledgements(
            bench, designs, options.rounds, options.seconds
        )
    return acknowledgements.tables(results), targets.of_acknowledgements(results)


def _reads(options: argparse.Namespace) -> Part:
    with _bench() as bench:
        results = reads.measure_reads(bench, bench.empty_route(), options.rounds, options.seconds)
    return [reads.reads_table(results)], targets.of_reads(results)


def _growth(options: argparse.Namespace, say: Callable[[str], object]) -> Part:
    with _bench() as bench:
        empty = bench.empty_route()
        plan = growth.GrowthPlan(options.kept, options.rounds, options.seconds)
        stages = growth.measure_growth(bench, empty, plan, say)
    return [growth.growth_table(stages)], targets.of_growth(stages)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="of one run of one design")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle-seconds", type=float, default=60)
    parser.add_argument("--kept", type=int, default=1_000_000, help="messages, where growth ends")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of: %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
