"""Acknowledgements: Threadkeep, one Celery task per message, and an empty route, alternated.

The peer is measured twice: as the manuals write it, and tuned with everything that Threadkeep has
except its design.

`python -m benchmarks.ack [--seconds 5] [--rounds 3] [--clients 1,10,64]` starts a stack of its
own and prints one table. Each figure is the median of its rounds; every design is measured in
every round, so that a machine whose speed drifts affects all alike.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

import settings
from benchmarks import load
from benchmarks.peers import one_task, tuned_task
from benchmarks.stack import ephemeral_stack
from embedded.ports import free_port
from webapp.http.auth import Tokens
from wiring.process import Services

BODY = b'{"message":"' + b"x" * 300 + b'"}'
THREADS_PER_CLIENT = 4
LANDED_DEADLINE_SECONDS = 300
GRANIAN = (
    "granian --interface wsgi --factory --host 127.0.0.1 --port {port} --workers 2"
    " --blocking-threads 64 --backpressure 512 --no-ws --log-level error {target}"
)


class Design(NamedTuple):
    """A design under test: its address, and how to count the messages that were committed, if it
    commits any."""

    name: str
    url: str
    landed: Callable[[], int] | None


class AckRun(NamedTuple):
    """One run: acknowledged and landed a second, and latencies in milliseconds."""

    acknowledged: float
    landed: float
    lag_seconds: float
    mean: float
    p50: float
    p95: float
    p99: float
    slowest: float
    errors: int


def main() -> None:
    """Measures and prints."""
    options = _options()
    counts = [int(number) for number in options.clients.split(",")]
    with ExitStack() as cleanup:
        env = cleanup.enter_context(ephemeral_stack())
        os.environ.update(env)
        services = Services(settings.load())
        designs = _designs(cleanup, services, env)
        results: dict[tuple[str, int], list[AckRun]] = {}
        for _ in range(options.rounds):
            for clients, design in itertools.product(counts, designs):
                run = measure(design, clients, options.seconds, Tokens(services.settings))
                results.setdefault((design.name, clients), []).append(run)
        _print(results, counts, designs)


def measure(design: Design, clients: int, seconds: float, tokens: Tokens) -> AckRun:
    """One run of one design."""
    before = design.landed() if design.landed else 0
    mark = time.time_ns()

    def requests(number: int) -> Iterator[bytes]:
        token = tokens.issue(f"bench-{number}", is_admin=False, ttl_seconds=3600)
        paths = [f"/api/threads/{mark}-{at}/messages" for at in range(THREADS_PER_CLIENT)]
        return itertools.cycle([load.post(design.url, path, token, BODY) for path in paths])

    started = time.monotonic()
    sample = load.run(design.url, clients, seconds, requests)
    ended = time.monotonic()
    good = len(sample.latencies) - sample.errors
    if design.landed:
        wait_until(lambda: design.landed is None or design.landed() - before >= good)
    landed_after = time.monotonic()
    return AckRun(
        acknowledged=sample.per_second,
        landed=good / (landed_after - started) if design.landed else 0.0,
        lag_seconds=landed_after - ended,
        mean=sample.mean_ms,
        p50=sample.percentile(0.50),
        p95=sample.percentile(0.95),
        p99=sample.percentile(0.99),
        slowest=sample.percentile(1.0),
        errors=sample.errors,
    )


def _designs(cleanup: ExitStack, services: Services, env: dict[str, str]) -> list[Design]:
    engine = services.tiers.job_engine
    one_task.Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text(tuned_task.TABLE))
    return [
        Design("threadkeep", env["API_URL"], lambda: _count(engine, "messages")),
        _peer(cleanup, engine, "one task per message", "one_task"),
        _peer(cleanup, engine, "the same, tuned", "tuned_task"),
        Design("empty route", _granian(cleanup, "empty_route"), None),
    ]


def _peer(cleanup: ExitStack, engine: Engine, name: str, module: str) -> Design:
    worker = (
        f"celery -A benchmarks.peers.{module}:celery worker --concurrency 2 --loglevel error"
        f" --queues {module} --without-gossip"
    )
    cleanup.enter_context(process(worker))
    url = _granian(cleanup, module)
    return Design(name, url, lambda: _count(engine, f"{module}_messages"))


def _granian(cleanup: ExitStack, module: str) -> str:
    port = free_port()
    target = f"benchmarks.peers.{module}:create_app"
    cleanup.enter_context(process(GRANIAN.format(port=port, target=target)))
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: load.listens(url))
    return url


@contextmanager
def process(line: str, **variables: str) -> Iterator[int]:
    """Runs a script of this environment during the block, with these variables; gives the session
    that it leads."""
    scripts = Path(sys.executable).parent
    with subprocess.Popen(
        [str(scripts / word) if at == 0 else word for at, word in enumerate(line.split())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | variables,
        start_new_session=True,
    ) as program:
        try:
            yield program.pid
        finally:
            program.terminate()
            try:
                program.wait(timeout=10)
            except subprocess.TimeoutExpired:
                program.kill()


def _count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for a condition; ends the program with a line if it does not come true."""
    deadline = time.monotonic() + LANDED_DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("what was acknowledged did not land in time")
        time.sleep(0.02)


def _print(
    results: dict[tuple[str, int], list[AckRun]], counts: list[int], designs: list[Design]
) -> None:
    table = Table(title="Acknowledgements, 300-byte messages, median of rounds")
    for heading in (
        "clients", "design", "acked/s", "ratio", "landed/s", "ratio",
        "mean ms", "p50", "p95", "p99", "max", "lag s", "errors",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "design" else "right")
    for clients in counts:
        own = _median(results[designs[0].name, clients])
        for design in designs:
            run = _median(results[design.name, clients])
            table.add_row(
                str(clients),
                design.name,
                f"{run.acknowledged:,.0f}",
                f"{own.acknowledged / run.acknowledged:.2f}",
                f"{run.landed:,.0f}" if run.landed else "",
                f"{own.landed / run.landed:.2f}" if run.landed else "",
                *(f"{figure:.1f}" for figure in (run.mean, run.p50, run.p95, run.p99)),
                f"{run.slowest:.1f}",
                f"{run.lag_seconds:.2f}" if run.landed else "",
                f"{run.errors:.0f}",
            )
        table.add_section()
    Console(width=140).print(table)
    Console().print("ratio: threadkeep's figure divided by the row's")


def _median(runs: list[AckRun]) -> AckRun:
    return AckRun(*(median(figures) for figures in zip(*runs, strict=True)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", default="1,10,64")
    return parser.parse_args()


if __name__ == "__main__":
    main()
