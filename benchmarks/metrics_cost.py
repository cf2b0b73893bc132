"""The cost of metrics: acknowledgements of two web servers that differ in `THREADKEEP_METRICS`.

`python -m benchmarks.metrics_cost [--seconds 1] [--rounds 40] [--clients 1,64]` starts a stack of
its own and two more web servers over it, and loads them by turns. Who begins changes from round to
round, and each round is a ratio of its own: what the machine does meanwhile is done to both. Rates
still differ by a third from round to round where others use the machine; the processor time of a
server for one acknowledgement does not.
"""

import argparse
import os
import tempfile
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

import settings
from benchmarks import load
from benchmarks.ack import GRANIAN, AckRun, Design, measure, process, wait_until
from benchmarks.sockets import costs
from benchmarks.stack import ephemeral_stack
from embedded.ports import free_port
from embedded.supervision import procfs
from webapp.http.auth import Tokens

GOAL = 0.03
WARM_SECONDS = 1.0


class WebServer(NamedTuple):
    """A web server, and the session of its processes."""

    design: Design
    session: int


class Round(NamedTuple):
    """One server in one round: its rate, and the microseconds of processor time for each
    acknowledgement."""

    measured: AckRun
    processor_us: float


def main() -> None:
    """Measures and prints."""
    options = _options()
    counts = [int(number) for number in options.clients.split(",")]
    with ExitStack() as cleanup:
        os.environ.update(cleanup.enter_context(ephemeral_stack()))
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="threadkeep-figures-"))
        tokens = Tokens(settings.load())
        servers = [
            _web(cleanup, "on", PROMETHEUS_MULTIPROC_DIR=folder, THREADKEEP_METRICS="1"),
            _web(cleanup, "off", THREADKEEP_METRICS="0"),
        ]
        for server in servers:
            measure(server.design, max(counts), WARM_SECONDS, tokens)
        for clients in counts:
            runs: dict[str, list[Round]] = {server.design.name: [] for server in servers}
            for at in range(options.rounds):
                for server in servers if at % 2 == 0 else reversed(servers):
                    done = _round(server, clients, options.seconds, tokens)
                    runs[server.design.name].append(done)
            _print(clients, runs)


def _web(cleanup: ExitStack, name: str, **variables: str) -> WebServer:
    port = free_port()
    line = GRANIAN.format(port=port, target="webapp.wsgi:application")
    session = cleanup.enter_context(process(line, **variables))
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: load.listens(url))
    return WebServer(Design(name, url, None), session)


def _round(server: WebServer, clients: int, seconds: float, tokens: Tokens) -> Round:
    pids = procfs.session_members(server.session)
    before = costs.seconds_of(pids)
    measured = measure(server.design, clients, seconds, tokens)
    spent = costs.seconds_of(pids) - before
    return Round(measured, spent * 1e6 / (measured.acknowledged * seconds))


def _print(clients: int, runs: dict[str, list[Round]]) -> None:
    table = Table(title=f"Counting, {clients} clients, median of {len(runs['on'])} rounds")
    headings = ("metrics", "acked/s", "mean ms", "p50", "p95", "p99", "errors", "processor \u00b5s")
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, rounds in runs.items():
        figures = [median(values) for values in zip(*(one.measured for one in rounds), strict=True)]
        run = AckRun(*figures)
        latencies = (f"{one:.2f}" for one in (run.mean, run.p50, run.p95, run.p99))
        spent = f"{median(one.processor_us for one in rounds):.0f}"
        table.add_row(name, f"{run.acknowledged:,.0f}", *latencies, f"{run.errors:.0f}", spent)
    pairs = list(zip(runs["on"], runs["off"], strict=True))
    rate = median(on.measured.acknowledged / off.measured.acknowledged for on, off in pairs)
    processor = median(on.processor_us / off.processor_us for on, off in pairs) - 1
    verdict = "within" if 1 - rate < GOAL else "ABOVE"
    console = Console(width=100)
    console.print(table)
    console.print(
        f"medians: counting costs {1 - rate:.1%} of the rate, {verdict} the goal of 3 %"
        f", and {processor:.1%} of the server's processor time"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--clients", default="1,64")
    return parser.parse_args()


if __name__ == "__main__":
    main()
