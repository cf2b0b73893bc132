"""The cost of metrics: acknowledgements of two web servers that differ in `THREADKEEP_METRICS`.

`python -m benchmarks.metrics_cost [--seconds 1] [--rounds 40] [--clients 1,64]` starts a stack of
its own and two more web servers over it, and loads them by turns. Who begins changes from round to
round, and each round is a ratio of its own: what the machine does meanwhile is done to both. Rates
still differ by a third from round to round where others use the machine; the processor time of a
server for one acknowledgement does not.
"""

import argparse
import tempfile
from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from benchmarks import load
from benchmarks.bench.acknowledgements import ack_plan
from benchmarks.bench.designs import GRANIAN, Bench, Design, process, wait_until
from benchmarks.bench.measuring import LoadRun, measure, median_run, ratio
from benchmarks.stack import launched_stack
from embedded.ports import free_port
from embedded.supervision import procfs

GOAL = 0.03
WARM_SECONDS = 1.0


def main() -> None:
    """Measures and prints."""
    options = _options()
    counts = [int(number) for number in options.clients.split(",")]
    with launched_stack() as stack, ExitStack() as cleanup:
        bench = Bench(stack, cleanup)
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="threadkeep-figures-"))
        servers = [
            _web(cleanup, "on", PROMETHEUS_MULTIPROC_DIR=folder, THREADKEEP_METRICS="1"),
            _web(cleanup, "off", THREADKEEP_METRICS="0"),
        ]
        for server in servers:
            measure(server, ack_plan(bench, server, max(counts), WARM_SECONDS))
        for clients in counts:
            runs: dict[str, list[LoadRun]] = {server.name: [] for server in servers}
            for at in range(options.rounds):
                for server in servers if at % 2 == 0 else reversed(servers):
                    plan = ack_plan(bench, server, clients, options.seconds)
                    runs[server.name].append(measure(server, plan))
            _print(clients, runs)


def _web(cleanup: ExitStack, name: str, **variables: str) -> Design:
    port = free_port()
    line = GRANIAN.format(port=port, target="webapp.wsgi:application")
    session = cleanup.enter_context(process(line, **variables))
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: load.listens(url))
    return Design(name, url, lambda: {"web": procfs.session_members(session)})


def _print(clients: int, runs: dict[str, list[LoadRun]]) -> None:
    table = Table(title=f"Counting, {clients} clients, median of {len(runs['on'])} rounds")
    for heading in ("metrics", "acked/s", "p50 ms", "p95", "p99", "processor \u00b5s"):
        table.add_column(heading, justify="right")
    for name, rounds in runs.items():
        run = median_run(rounds)
        latencies = (f"{one:.2f}" for one in (run.p50, run.p95, run.p99))
        table.add_row(name, f"{run.acknowledged:,.0f}", *latencies, f"{run.total_micros:.0f}")
    on, off = runs["on"], runs["off"]
    rate = ratio((one.acknowledged for one in on), (one.acknowledged for one in off))
    processor = ratio((one.total_micros for one in on), (one.total_micros for one in off)) - 1
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
