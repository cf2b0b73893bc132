"""Bulk and reads: what each request costs, as a share of the empty route's rate."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import msgspec
from rich.table import Table

from benchmarks import load
from benchmarks.bench import history
from benchmarks.bench.acknowledgements import BODY, MANY, ack_plan
from benchmarks.bench.designs import EMPTY, USERS, Bench, Design
from benchmarks.bench.measuring import (
    GENERATOR,
    LoadPlan,
    LoadRun,
    measure,
    median_run,
    ratio,
)
from models.message import Message
from selftest.bed.launching import StackFailed

FEW = 4
WARM_SECONDS = 1.0
TRUSTED_SECONDS = 30.0
POLL_SECONDS = 0.1
BATCH_MESSAGES = 500
PAGE_MESSAGES = 60
LISTED_THREADS = 1_000
SEARCHED_MESSAGES = 20_000
ARCHIVED_MESSAGES = 10_000
HOT_PAGE_MESSAGES = 1_000
HOT_PAGE = "/api/threads/read/messages?limit=50"
LISTER, SEARCHER, ARCHIVIST = "lists-threads", "searches", "reads-the-archive"
DAY_US = 86_400_000_000
LONG_AGO_US = 1_577_664_000_000_000
"""2019-12-30: an archiver takes what is from there."""

BATCHES = "POST /api/messages:batch of 500"
PAGES = "GET …/messages, 50 from Redis"
MESSAGE = "GET /api/messages/{id}"
LISTS = "GET /api/threads, 50, a writer beside"
SEARCHES = "GET /api/search, 20,000 messages"
ARCHIVE = "GET …/messages, 50 from the archive"


class ReadResults(NamedTuple):
    """The runs of each row, one a round; the rate of batches counts messages."""

    runs: Mapping[str, Sequence[LoadRun]]
    clients: Mapping[str, int]

    def rate(self, name: str) -> float:
        """Answers a second, or landed messages where these are what is counted."""
        return median(self._rates(name))

    def share(self, name: str) -> float:
        """The rate of a row divided by the empty route's: the median of the rounds."""
        return ratio(self._rates(name), self._rates(EMPTY))

    def _rates(self, name: str) -> list[float]:
        figure = "landed" if name == BATCHES else "acknowledged"
        return [getattr(run, figure) for run in self.runs[name]]


def measure_reads(bench: Bench, empty: Design, rounds: int, seconds: float) -> ReadResults:
    """Measures every row in every round."""
    plans = _plans(bench, seconds, _prepare(bench))
    empty_plan = ack_plan(bench, empty, MANY, seconds)
    ours = bench.ours()
    rows = {name: ours._replace(name=name) for name in plans}
    for name, plan in plans.items():
        measure(rows[name], plan._replace(seconds=WARM_SECONDS))
    runs: dict[str, list[LoadRun]] = {}
    for at in range(rounds):
        for name in sorted(plans, reverse=bool(at % 2)):
            runs.setdefault(name, []).append(measure(rows[name], plans[name]))
        runs.setdefault(EMPTY, []).append(measure(empty, empty_plan))
    return ReadResults(runs, {name: plan.clients for name, plan in plans.items()} | {EMPTY: MANY})


def reads_table(results: ReadResults) -> Table:
    """Every row with its processor time."""
    table = Table(title="Bulk and reads, medians of alternated rounds")
    for heading in (
        "", "clients", "a second", "÷ empty route", "p50 ms", "p95", "p99", "slowest",
        "web µs", "all µs", "load generator µs",
    ):  # fmt: skip
        table.add_column(heading, justify="right" if heading else "left")
    for name in (EMPTY, BATCHES, PAGES, MESSAGE, LISTS, SEARCHES, ARCHIVE):
        run = median_run(results.runs[name])
        times = (run.p50, run.p95, run.p99, run.slowest)
        spent = (run.micros["web"], run.total_micros, run.micros[GENERATOR])
        table.add_row(
            name,
            f"{results.clients[name]}",
            f"{results.rate(name):,.0f}",
            "" if name == EMPTY else f"{results.share(name):.2f}",
            *(f"{one:.1f}" for one in times),
            *(f"{one:,.0f}" for one in spent),
        )
    return table


def _prepare(bench: Bench) -> list[Message]:
    """Fills the hot page of every reader; imports a list, what is searched, and an archive, whose
    messages it gives."""
    now_us = time.time_ns() // 1_000
    for number in range(MANY):
        load.once(bench.stack.url, _batch(bench, f"{USERS}{number}", PAGE_MESSAGES))
    imports = (
        (LISTER, LISTED_THREADS, LISTED_THREADS, now_us - DAY_US, now_us),
        (SEARCHER, 500, SEARCHED_MESSAGES, now_us - 6 * DAY_US, now_us - DAY_US),
    )
    for what in imports:
        history.add(bench, history.messages(*what))
    archived = _archived()
    history.add(bench, iter(archived))
    history.archive_all()
    return archived


def _plans(bench: Bench, seconds: float, archived: Sequence[Message]) -> dict[str, LoadPlan]:
    url = bench.stack.url

    def get(user_id: str, *paths: str) -> load.Requests:
        token = bench.token(user_id)
        return itertools.cycle([load.call("GET", url, path, token) for path in paths])

    searched = [f"/api/search?q={word}&limit=50" for word in history.WORDS[100:1_100:10]]
    pages = _archive_pages(bench, archived)
    message_of = [_newest(bench, f"{USERS}{number}") for number in range(MANY)]
    writer = [
        load.post(url, f"/api/threads/thread-{at:05}/messages", bench.token(LISTER), BODY)
        for at in range(LISTED_THREADS)
    ]

    def reading(clients: int, requests: Callable[[int], load.Requests]) -> LoadPlan:
        return LoadPlan(clients, seconds, requests, is_read=True)

    return {
        BATCHES: LoadPlan(
            FEW,
            seconds,
            lambda number: itertools.repeat(_batch(bench, f"{USERS}{number}", BATCH_MESSAGES)),
            messages=BATCH_MESSAGES,
        ),
        PAGES: reading(MANY, lambda number: get(f"{USERS}{number}", HOT_PAGE)),
        MESSAGE: reading(MANY, lambda number: get(f"{USERS}{number}", message_of[number])),
        LISTS: reading(MANY, lambda _: get(LISTER, "/api/threads?limit=50"))._replace(
            beside=[itertools.cycle(writer)]
        ),
        SEARCHES: reading(FEW, lambda number: get(SEARCHER, *searched[number::FEW])),
        ARCHIVE: reading(FEW, lambda number: get(ARCHIVIST, *pages[number::FEW])),
    }


def _batch(bench: Bench, user_id: str, size: int) -> bytes:
    item = b'{"thread_id":"read",' + BODY[1:]
    body = b'{"messages":[' + b",".join([item] * size) + b"]}"
    return load.post(bench.stack.url, "/api/messages:batch", bench.token(user_id), body)


def _newest(bench: Bench, user_id: str) -> str:
    """The path of a user's newest message, which is in a page that Redis answers. Right after the
    imports it may not be asked alone yet."""
    deadline = time.monotonic() + TRUSTED_SECONDS
    while (page := _page(bench, user_id, HOT_PAGE))["retrieval_source"] != "redis":
        if time.monotonic() > deadline:
            raise StackFailed(f"a hot page came from {page['retrieval_source']}")
        time.sleep(POLL_SECONDS)
    return f"/api/messages/{page['messages'][0]['id']}"


def _archived() -> list[Message]:
    spans = (LONG_AGO_US, LONG_AGO_US + DAY_US)
    return list(history.messages(ARCHIVIST, FEW, ARCHIVED_MESSAGES, *spans))


def _archive_pages(bench: Bench, archived: Sequence[Message]) -> list[str]:
    """The paths of pages too deep in their thread for Redis, one of each thread in turn."""
    deep = archived[HOT_PAGE_MESSAGES : -FEW * HOT_PAGE_MESSAGES]
    paths = [f"/api/threads/{one.thread_id}/messages?limit=50&cursor={one.id}" for one in deep]
    # The second answer shows that the first was not kept.
    sources = {_page(bench, ARCHIVIST, path)["retrieval_source"] for path in 2 * paths[:FEW]}
    if sources != {"clickhouse"}:
        raise StackFailed(f"an archived page came from {sources}")
    return paths


def _page(bench: Bench, user_id: str, path: str) -> dict[str, Any]:
    request = load.call("GET", bench.stack.url, path, bench.token(user_id))
    found: dict[str, Any] = msgspec.json.decode(load.once(bench.stack.url, request))
    return found
