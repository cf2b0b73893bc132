"""What a process counts and times of its own work. Nothing here may raise or wait.

The series of every label whose values are known are made at the start: a hot path looks nothing up
but a dictionary, and every rate begins at 0.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Literal, NamedTuple, Self, get_args

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
Thread = Literal["lease", "watch-redis", "counting", "alerts", "webhook", "limits"]
"""A thread of a process's own that goes on whatever happens in one of its rounds."""

Refusal = Literal["login", "permission"]
"""Why a caller was refused: for the credential, or for what it may not do."""

LIMITS = ("write", "read", "search", "heavy", "unauthenticated", "waiting")

REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
JOB_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
BATCH_BOUNDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_STATUSES = ("2xx", "4xx", "5xx")

Labels = Mapping[str, tuple[str, ...]]
"""The values of each label that are known at the start; none where they come with what happens."""

_TIER: Labels = {"tier": TIERS}
_KIND: Labels = {"kind": get_args(Kind)}
_REQUEST: Labels = {"route": (), "method": (), "status": ()}
_NONE: Labels = {}


class _Made(NamedTuple):
    """How a metric is made."""

    meaning: str
    labels: Labels = _NONE
    kind: type[Counter | Gauge | Histogram] = Counter
    options: Mapping[str, Any] = _NONE


def _timed(meaning: str, bounds: tuple[float, ...], labels: Labels = _NONE) -> _Made:
    return _Made(meaning, labels, Histogram, {"buckets": bounds})


def _gauge(meaning: str, merged: str, labels: Labels) -> _Made:
    """`merged`: how the values of several processes become one."""
    return _Made(meaning, labels, Gauge, {"multiprocess_mode": merged})


_METRICS = {
    "acknowledged": _Made("Messages, threads and states acknowledged", {**_TIER, **_KIND}),
    "refused": _Made("Writes that no tier took", {**_KIND, "code": get_args(Code)}),
    "failed_over": _Made(
        "Writes that another tier took in Redis's place", {"reason": get_args(FailoverReason)}
    ),
    "damaged_copies": _Made("Copies read that do not match their own hash", _TIER),
    "http_requests": _Made("Requests, by the class of their status", _REQUEST),
    "refusals": _Made("Callers who were refused", {"kind": get_args(Refusal)}),
    "rate_limited": _Made("Calls that a limit refused", {"limit": LIMITS}),
    "persisted": _Made("Log entries committed in PostgreSQL"),
    "dead_lettered": _Made("Entries that PostgreSQL refused"),
    "replicated": _Made("Rows shipped to ClickHouse"),
    "archived": _Made("Messages that left PostgreSQL for the archive"),
    "check_compared": _Made("Copies that checks held against others"),
    "checks": _Made("Checks that came to an end", {"outcome": get_args(Checked)}),
    "breaker_openings": _Made("Times a breaker opened", _TIER),
    "wake_ups_lost": _Made("Tasks that could not be sent"),
    "rounds_failed": _Made("Rounds of own threads that failed", {"thread": get_args(Thread)}),
    "looks": _Made("Looks of workers at what there is to carry", {"look": (), "outcome": ()}),
    "tasks": _Made("Tasks that ended", {"task": (), "outcome": ()}),
    "acknowledgement_seconds": _timed("A write, until a tier had taken it", BOUNDS_SECONDS, _TIER),
    "read_seconds": _timed(
        "A message, a page or a search, by the tier it came from",
        BOUNDS_SECONDS,
        {"source": get_args(Source)},
    ),
    "http_request_seconds": _timed("A request", REQUEST_BOUNDS, _REQUEST),
    "persist_seconds": _timed("One batch of the log to PostgreSQL", JOB_BOUNDS),
    "persist_batch_entries": _timed("Log entries in one transaction", BATCH_BOUNDS),
    "replicate_seconds": _timed("One insert of the outbox into ClickHouse", JOB_BOUNDS),
    "task_seconds": _timed("A task", JOB_BOUNDS, {"task": ()}),
    "breakers_open": _gauge("Processes that find a tier out", "livesum", _TIER),
    "last_look_timestamp_seconds": _gauge("When a look last came to its end", "max", {"look": ()}),
    "sockets_open": _gauge("Sockets and event streams open", "liveall", {"program": ()}),
}


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
        self.registry = CollectorRegistry()
        self._series: dict[tuple[str, ...], Any] = {}
        self._metrics: dict[str, Any] = {}
        for name, (meaning, labels, kind, options) in _METRICS.items():
            given = {"registry": self.registry, **options}
            self._metrics[name] = (
                kind(f"threadkeep_{name}", meaning, tuple(labels), **given)
                if is_on
                else _Unrecorded()
            )
            for values in product(*labels.values()):
                self._of(name, *values)

    def _of(self, name: str, *labels: str) -> Any:
        """The series of a metric with these labels, made where it is the first time."""
        found = self._series.get((name, *labels))
        if found is None:
            metric = self._metrics[name]
            found = self._series[name, *labels] = metric.labels(*labels) if labels else metric
        return found

    def acknowledged(self, tier: Tier, kind: Kind, seconds: float, messages: int = 1) -> None:
        """A tier took one write, of so many messages."""
        self._of("acknowledged", tier, kind).inc(messages)
        self._of("acknowledgement_seconds", tier).observe(seconds)
        reason = degraded(tier).failover_reason
        if reason is not None:
            self._of("failed_over", reason).inc()

    def refused(self, kind: Kind, code: Code) -> None:
        """A write was not acknowledged, through no fault of the caller's."""
        self._of("refused", kind, code).inc()

    def read(self, source: Source, seconds: float) -> None:
        """A message, a page of a thread or a search was read from there."""
        self._of("read_seconds", source).observe(seconds)

    def persisted(self, messages: int, seconds: float, refused: int = 0) -> None:
        """One transaction took so many entries of the log to PostgreSQL; some became dead
        letters."""
        self._of("persisted").inc(messages)
        self._of("persist_seconds").observe(seconds)
        self._of("persist_batch_entries").observe(messages)
        self._of("dead_lettered").inc(refused)

    def replicated(self, rows: int, seconds: float) -> None:
        """One insert took so many rows to ClickHouse."""
        self._of("replicated").inc(rows)
        self._of("replicate_seconds").observe(seconds)

    def archived(self, messages: int) -> None:
        """So many messages are read from ClickHouse alone from now on."""
        self._of("archived").inc(messages)

    def compared(self, rows: int) -> None:
        """A check held so many of one tier against another; it is at work."""
        self._of("check_compared").inc(rows)

    def checked(self, outcome: Checked) -> None:
        """A check came to an end."""
        self._of("checks", outcome).inc()

    def breaker(self, tier: Tier, *, is_open: bool) -> None:
        """This process's breaker of a tier opened or closed."""
        self._of("breakers_open", tier).set(is_open)
        if is_open:
            self._of("breaker_openings", tier).inc()

    def requested(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered. The route is its template, never its path."""
        labels = route, method, f"{status // 100}xx"
        self._of("http_requests", *labels).inc()
        self._of("http_request_seconds", *labels).observe(seconds)

    def rate_limited(self, limit: str) -> None:
        """A call was refused because its caller asked for too much; which limit, of `LIMITS`."""
        self._of("rate_limited", limit).inc()

    def refusal(self, kind: Refusal) -> None:
        """A caller was refused."""
        self._of("refusals", kind).inc()

    def expect_requests(self, routes: Iterable[tuple[str, str]]) -> None:
        """Makes the counters of these routes and methods, so that a first error shows as a rate.

        The histograms, of which most routes need one, are made by the first request.
        """
        for (route, method), status in product(routes, _STATUSES):
            self._of("http_requests", route, method, status)

    def wake_up_lost(self) -> None:
        """A task could not be sent; a poller finds its work without it."""
        self._of("wake_ups_lost").inc()

    def round_failed(self, thread: Thread) -> None:
        """A round of a thread ended in an error that nobody foresaw."""
        self._of("rounds_failed", thread).inc()

    def expect_polls(self, jobs: Iterable[str]) -> None:
        """Makes the children of these jobs of a worker."""
        for job, outcome in product(jobs, _OUTCOMES):
            self._of("looks", job, outcome)

    def polled(self, job: str, outcome: Outcome, at: float) -> None:
        """A worker's poll ended, at seconds since 1970."""
        self._of("looks", job, outcome).inc()
        if outcome == "done":
            self._of("last_look_timestamp_seconds", job).set(at)

    def expect_tasks(self, names: Iterable[str]) -> None:
        """Makes the children of these tasks."""
        for name, outcome in product(names, _OUTCOMES):
            self._of("tasks", name, outcome)
            self._of("task_seconds", name)

    def task_ended(self, name: str, outcome: Outcome, seconds: float) -> None:
        """A task ended."""
        self._of("tasks", name, outcome).inc()
        self._of("task_seconds", name).observe(seconds)

    def sockets(self, count: int) -> None:
        """So many sockets and event streams are open in this process."""
        self._of("sockets_open", "realtime").set(count)

    def counts(self) -> dict[str, float]:
        """What this process alone counted since it began, or since its folder was emptied, by the
        names of `Counts`."""
        names = ("refused", "failed_over", "persisted", "replicated", "archived")
        return {
            **{f"acknowledged:{tier}": self._sum("acknowledged", tier=tier) for tier in TIERS},
            "writes": self._sum("acknowledgement_seconds", "_count"),
            **{name: self._sum(name) for name in names},
            **{f"refusals:{kind}": self._sum("refusals", kind=kind) for kind in get_args(Refusal)},
        }

    def _sum(self, name: str, suffix: str = "_total", **labels: str) -> float:
        """The sum over all series of a metric that have these labels."""
        return sum(
            float(sample.value)
            for family in self._metrics[name].collect()
            for sample in family.samples
            if sample.name.endswith(suffix) and labels.items() <= sample.labels.items()
        )

    def damaged(self, source: Tier) -> None:
        """A tier gave a copy of a message that does not match its own hash."""
        self._of("damaged_copies", source).inc()


def code_of(error: TierError) -> Code:
    """Why a write was not acknowledged, in the words of the API."""
    return "storage_unavailable" if isinstance(error, TierUnavailable) else "storage_error"
