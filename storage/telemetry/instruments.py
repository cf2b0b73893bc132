"""What a process counts and times of its own work. Nothing here may raise or wait.

The children of every label whose values are known are made at the start: a hot path looks nothing
up but a dictionary, and every rate begins at 0.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Literal, Self, TypeVar, cast, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from models.caveats import degraded
from models.message import FailoverReason, Source, Tier
from storage.errors import TierError, TierUnavailable
from storage.telemetry.counts import BOUNDS_SECONDS, TIERS

Kind = Literal["post", "edit", "delete", "thread", "state"]
"""What was written. A batch, a socket and a stream that ends write as everyone else does."""
Code = Literal["storage_unavailable", "storage_error"]
"""Why it was not: no tier answered, or the one that did refused it."""
Outcome = Literal["done", "postponed", "failed"]
"""How a job or a task ended; postponed where a tier that it needs did not answer."""
Checked = Literal["done", "failed"]
Thread = Literal["lease", "watch-redis", "counting", "alerts", "webhook"]
"""A thread of a process's own that goes on whatever happens in one of its rounds."""

REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
JOB_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
BATCH_BOUNDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_STATUSES = ("2xx", "4xx", "5xx")

Labels = Mapping[str, tuple[str, ...]]
"""The values of each label that are known at the start; none where they come with what happens."""
Metric = TypeVar("Metric", Counter, Gauge, Histogram)

_TIER = {"tier": TIERS}
_KIND = {"kind": get_args(Kind)}
_REQUEST: Labels = {"route": (), "method": (), "status": ()}
_COUNTERS: dict[str, tuple[str, Labels]] = {
    "acknowledged": ("Messages, threads and states acknowledged", _TIER | _KIND),
    "refused": ("Writes that no tier took", _KIND | {"code": get_args(Code)}),
    "failed_over": (
        "Writes that another tier took in Redis's place",
        {"reason": get_args(FailoverReason)},
    ),
    "damaged_copies": ("Copies read that do not match their own hash", _TIER),
    "http_requests": ("Requests, by the class of their status", _REQUEST),
    "persisted": ("Log entries committed in PostgreSQL", {}),
    "dead_lettered": ("Entries that PostgreSQL refused", {}),
    "replicated": ("Rows shipped to ClickHouse", {}),
    "archived": ("Messages that left PostgreSQL for the archive", {}),
    "check_compared": ("Copies that checks held against others", {}),
    "checks": ("Checks that came to an end", {"outcome": get_args(Checked)}),
    "breaker_openings": ("Times a breaker opened", _TIER),
    "wake_ups_lost": ("Tasks that could not be sent", {}),
    "rounds_failed": ("Rounds of own threads that failed", {"thread": get_args(Thread)}),
    "looks": ("Looks of workers at what there is to carry", {"look": (), "outcome": ()}),
    "tasks": ("Tasks that ended", {"task": (), "outcome": ()}),
}
_HISTOGRAMS: dict[str, tuple[str, tuple[float, ...], Labels]] = {
    "acknowledgement_seconds": ("A write, until a tier had taken it", BOUNDS_SECONDS, _TIER),
    "read_seconds": (
        "A message, a page or a search, by the tier it came from",
        BOUNDS_SECONDS,
        {"source": get_args(Source)},
    ),
    "http_request_seconds": ("A request", REQUEST_BOUNDS, _REQUEST),
    "persist_seconds": ("One batch of the log to PostgreSQL", JOB_BOUNDS, {}),
    "persist_batch_entries": ("Log entries in one transaction", BATCH_BOUNDS, {}),
    "replicate_seconds": ("One insert of the outbox into ClickHouse", JOB_BOUNDS, {}),
    "task_seconds": ("A task", JOB_BOUNDS, {"task": ()}),
}
_GAUGES: dict[str, tuple[str, Literal["livesum", "liveall", "max"], Labels]] = {
    "breakers_open": ("Processes that find a tier out", "livesum", _TIER),
    "last_look_timestamp_seconds": ("When a look last came to its end", "max", {"look": ()}),
    "sockets_open": ("Sockets and event streams open", "liveall", {"program": ()}),
}
"""How the values of several processes become one, and the labels."""


class _Unrecorded:
    """A metric of a process that is to count nothing."""

    def labels(self, *_: str) -> Self:
        return self

    def record(self, _: float = 1) -> None:
        """Does nothing."""

    inc = observe = set = record

    def collect(self) -> tuple[()]:
        return ()


class Instruments:
    """The instruments of one process, in a registry of their own.

    Where they are off there is nothing in it, and every count stays 0.
    """

    def __init__(self, *, is_on: bool = True) -> None:
        # When a series began says nothing that a rate needs, and is half of all lines.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._is_on = is_on
        self.registry = CollectorRegistry()
        self._counters = {
            name: self._made(Counter, name, meaning, labels)
            for name, (meaning, labels) in _COUNTERS.items()
        }
        self._histograms = {
            name: self._made(Histogram, name, meaning, labels, buckets=bounds)
            for name, (meaning, bounds, labels) in _HISTOGRAMS.items()
        }
        self._gauges = {
            name: self._made(Gauge, name, meaning, labels, multiprocess_mode=mode)
            for name, (meaning, mode, labels) in _GAUGES.items()
        }
        self._counted = {
            name: _children(self._counters[name], labels) for name, (_, labels) in _COUNTERS.items()
        }
        self._timed = {
            name: _children(self._histograms[name], labels)
            for name, (_, _, labels) in _HISTOGRAMS.items()
        }
        for tier in TIERS:
            self._gauges["breakers_open"].labels(tier)
        self._requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def _made(
        self, of: type[Metric], name: str, meaning: str, labels: Labels, **options: Any
    ) -> Metric:
        if not self._is_on:
            return cast(Metric, _Unrecorded())
        return of(f"threadkeep_{name}", meaning, tuple(labels), registry=self.registry, **options)

    def acknowledged(self, tier: Tier, kind: Kind, seconds: float, messages: int = 1) -> None:
        """A tier took one write, of so many messages."""
        self._counted["acknowledged"][tier, kind].inc(messages)
        self._timed["acknowledgement_seconds"][tier].observe(seconds)
        reason = degraded(tier).failover_reason
        if reason is not None:
            self._counted["failed_over"][reason].inc()

    def refused(self, kind: Kind, code: Code) -> None:
        """A write was not acknowledged, through no fault of the caller's."""
        self._counted["refused"][kind, code].inc()

    def read(self, source: Source, seconds: float) -> None:
        """A message, a page of a thread or a search was read from there."""
        self._timed["read_seconds"][source].observe(seconds)

    def persisted(self, messages: int, seconds: float, refused: int = 0) -> None:
        """One transaction took so many entries of the log to PostgreSQL; some became dead
        letters."""
        self._counters["persisted"].inc(messages)
        self._histograms["persist_seconds"].observe(seconds)
        self._histograms["persist_batch_entries"].observe(messages)
        self._counters["dead_lettered"].inc(refused)

    def replicated(self, rows: int, seconds: float) -> None:
        """One insert took so many rows to ClickHouse."""
        self._counters["replicated"].inc(rows)
        self._histograms["replicate_seconds"].observe(seconds)

    def archived(self, messages: int) -> None:
        """So many messages are read from ClickHouse alone from now on."""
        self._counters["archived"].inc(messages)

    def compared(self, rows: int) -> None:
        """A check held so many of one tier against another; it is at work."""
        self._counters["check_compared"].inc(rows)

    def checked(self, outcome: Checked) -> None:
        """A check came to an end."""
        self._counted["checks"][outcome].inc()

    def breaker(self, tier: Tier, *, is_open: bool) -> None:
        """This process's breaker of a tier opened or closed."""
        self._gauges["breakers_open"].labels(tier).set(is_open)
        if is_open:
            self._counted["breaker_openings"][tier].inc()

    def requested(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered. The route is its template, never its path."""
        key = route, method, status // 100
        counted = self._requests.get(key)
        if counted is None:
            labels = route, method, f"{key[2]}xx"
            counter = self._counters["http_requests"].labels(*labels)
            counted = self._requests[key] = (
                counter,
                self._histograms["http_request_seconds"].labels(*labels),
            )
        counted[0].inc()
        counted[1].observe(seconds)

    def expect_requests(self, routes: Iterable[tuple[str, str]]) -> None:
        """Makes the counters of these routes and methods, so that a first error shows as a rate.

        The histograms, of which most routes need one, are made by the first request.
        """
        for (route, method), status in product(routes, _STATUSES):
            self._counters["http_requests"].labels(route, method, status)

    def wake_up_lost(self) -> None:
        """A task could not be sent; a poller finds its work without it."""
        self._counters["wake_ups_lost"].inc()

    def round_failed(self, thread: Thread) -> None:
        """A round of a thread ended in an error that nobody foresaw."""
        self._counted["rounds_failed"][thread].inc()

    def expect_polls(self, jobs: Iterable[str]) -> None:
        """Makes the children of these jobs of a worker."""
        for job, outcome in product(jobs, _OUTCOMES):
            self._counters["looks"].labels(job, outcome)

    def polled(self, job: str, outcome: Outcome, at: float) -> None:
        """A worker's poll ended, at seconds since 1970."""
        self._counters["looks"].labels(job, outcome).inc()
        if outcome == "done":
            self._gauges["last_look_timestamp_seconds"].labels(job).set(at)

    def expect_tasks(self, names: Iterable[str]) -> None:
        """Makes the children of these tasks."""
        for name, outcome in product(names, _OUTCOMES):
            self._counters["tasks"].labels(name, outcome)
            self._histograms["task_seconds"].labels(name)

    def task_ended(self, name: str, outcome: Outcome, seconds: float) -> None:
        """A task ended."""
        self._counters["tasks"].labels(name, outcome).inc()
        self._histograms["task_seconds"].labels(name).observe(seconds)

    def sockets(self, count: int) -> None:
        """So many sockets and event streams are open in this process."""
        self._gauges["sockets_open"].labels("realtime").set(count)

    def counts(self) -> dict[str, float]:
        """What this process alone counted since it began, or since its folder was emptied, by the
        names of `Counts`."""
        taken = self._counters["acknowledged"]
        names = ("refused", "failed_over", "persisted", "replicated", "archived")
        return {
            **{f"acknowledged:{tier}": _sum(taken, "_total", tier=tier) for tier in TIERS},
            "writes": _sum(self._histograms["acknowledgement_seconds"], "_count"),
            **{name: _sum(self._counters[name], "_total") for name in names},
        }

    def damaged(self, source: Tier) -> None:
        """A tier gave a copy of a message that does not match its own hash."""
        self._counted["damaged_copies"][source].inc()


def code_of(error: TierError) -> Code:
    """Why a write was not acknowledged, in the words of the API."""
    return "storage_unavailable" if isinstance(error, TierUnavailable) else "storage_error"


def _children(metric: Metric, labels: Labels) -> dict[Any, Metric]:
    """The children whose labels are known: by the label where there is one, else by all of them."""
    found = {values: metric.labels(*values) for values in product(*labels.values()) if values}
    return {values[0] if len(values) == 1 else values: one for values, one in found.items()}


def _sum(metric: Counter | Histogram, suffix: str, **labels: str) -> float:
    """The sum over all children of a metric that have these labels."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith(suffix) and labels.items() <= sample.labels.items()
    )
