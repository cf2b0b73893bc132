"""What counting costs: acknowledgements of two web servers alike but for `THREADKEEP_METRICS`.

`python -m benchmarks.metrics_cost [--seconds 1] [--rounds 40] [--clients 1,64]` starts a stack of
its own and two more web servers over it, and loads them by turns. Who begins changes from round to
round, and each round is a ratio of its own: what the machine does meanwhile is done to both.
"""

import argparse
import itertools
import os
import tempfile
from contextlib import ExitStack
from statistics import median

from rich.console import Console
from rich.table import Table

import settings
from benchmarks import load
from benchmarks.ack import GRANIAN, Design, Measured, measure, process, wait_until
from benchmarks.stack import ephemeral_stack
from embedded.ports import free_port
from webapp.auth import Tokens

GOAL = 0.03
WARM_SECONDS = 1.0


def main() -> None:
    """Measures and prints."""
    options = _options()
    counts = [int(number) for number in options.clients.split(",")]
    with ExitStack() as cleanup:
        os.environ.update(cleanup.enter_context(ephemeral_stack()))
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="threadkeep-figures-"))
        tokens = Tokens(settings.load())
        designs = [
            _web(cleanup, "on", PROMETHEUS_MULTIPROC_DIR=folder, THREADKEEP_METRICS="1"),
            _web(cleanup, "off", THREADKEEP_METRICS="0"),
        ]
        for design in designs:
            measure(design, max(counts), WARM_SECONDS, tokens)
        for clients in counts:
            runs: dict[str, list[Measured]] = {design.name: [] for design in designs}
            for at in range(options.rounds):
                for design in designs if at % 2 == 0 else reversed(designs):
                    runs[design.name].append(measure(design, clients, options.seconds, tokens))
            _print(clients, runs)


def _web(cleanup: ExitStack, name: str, **variables: str) -> Design:
    port = free_port()
    line = GRANIAN.format(port=port, target="webapp.wsgi:application")
    cleanup.enter_context(process(line, **variables))
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: load.listens(url))
    return Design(name, url, None)


def _print(clients: int, runs: dict[str, list[Measured]]) -> None:
    table = Table(title=f"Counting, {clients} clients, median of {len(runs['on'])} rounds")
    for heading in ("metrics", "acked/s", "mean ms", "p50", "p95", "p99", "errors"):
        table.add_column(heading, justify="right")
    for name, all_runs in runs.items():
        figures = [median(values) for values in zip(*all_runs, strict=True)]
        run = Measured(*figures)
        latencies = (f"{one:.2f}" for one in (run.mean, run.p50, run.p95, run.p99))
        table.add_row(name, f"{run.acknowledged:,.0f}", *latencies, f"{run.errors:.0f}")
    ratios = [
        on.acknowledged / off.acknowledged
        for on, off in itertools.zip_longest(runs["on"], runs["off"])
    ]
    cost = 1 - median(ratios)
    verdict = "within" if cost < GOAL else "ABOVE"
    console = Console(width=100)
    console.print(table)
    console.print(f"on / off: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    console.print(
        f"median {median(ratios):.3f}: counting costs {cost:.1%}, {verdict} the goal of 3 %"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--clients", default="1,64")
    return parser.parse_args()


if __name__ == "__main__":
    main()
