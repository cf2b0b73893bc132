"""What a process counts and times of its own work.

Each verb records one thing that happened, at the one place where it happens. The children of every
label are made at the start: a hot path looks nothing up but a dictionary, and every rate begins
at 0. Nothing here may raise or wait.
"""

from collections.abc import Iterable
from itertools import product
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from models.message import FailoverReason, Source, Tier
from storage.errors import TierError, TierUnavailable
from storage.telemetry.bounds import BATCH_BOUNDS, BOUNDS, JOB_BOUNDS, REQUEST_BOUNDS
from storage.telemetry.totals import Totals, cumulative, total

Kind = Literal["post", "edit", "delete", "thread", "state"]
"""What was written. A batch, a socket and a stream that ends write as everyone else does."""
Code = Literal["storage_unavailable", "storage_error"]
"""Why it was not: no tier answered, or the one that did refused it."""
Outcome = Literal["done", "postponed", "failed"]
"""How a job or a task ended; postponed where a tier that it needs did not answer."""

TIERS: tuple[Tier, ...] = get_args(Tier)
_KINDS: tuple[Kind, ...] = get_args(Kind)
_CODES: tuple[Code, ...] = get_args(Code)
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_SOURCES: tuple[Source, ...] = get_args(Source)
_REASONS: tuple[FailoverReason, ...] = get_args(FailoverReason)
_CHECKS: tuple[Literal["done", "failed"], ...] = ("done", "failed")
_STATUSES = ("2xx", "4xx", "5xx")
Thread = Literal["lease", "watch-redis", "counting", "alerts", "webhook"]
"""A thread of a process's own that goes on whatever happens in one of its rounds."""


class Instruments:
    """The instruments of one process, in a registry of their own.

    Where they are off, nothing is recorded and everything stays 0.
    """

    def __init__(self, *, is_on: bool = True) -> None:
        # When a series began says nothing that a rate needs, and is half of all lines.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.is_on = is_on
        self.registry = CollectorRegistry()
        self._writes()
        self._carrying()
        self._work()

    def acknowledged(self, tier: Tier, kind: Kind, seconds: float, messages: int = 1) -> None:
        """A tier took one write, of so many messages."""
        if self.is_on:
            self._acknowledged[tier, kind].inc(messages)
            self._acknowledgement_seconds[tier].observe(seconds)
            if tier != "redis":
                self.failed_over(_REASON_OF[tier])

    def refused(self, kind: Kind, code: Code) -> None:
        """A write was not acknowledged, through no fault of the caller's."""
        if self.is_on:
            self._refused[kind, code].inc()

    def failed_over(self, reason: FailoverReason) -> None:
        """A write went to another tier than Redis."""
        if self.is_on:
            self._failed_over[reason].inc()

    def read(self, source: Source, seconds: float) -> None:
        """A message, a page of a thread or a search was read from there."""
        if self.is_on:
            self._reads[source].observe(seconds)

    def persisted(self, messages: int, seconds: float, refused: int = 0) -> None:
        """One transaction took so many entries of the log to PostgreSQL; some became dead
        letters."""
        if self.is_on:
            self._persisted.inc(messages)
            self._persist_seconds.observe(seconds)
            self._persist_batch.observe(messages)
            self._dead_lettered.inc(refused)

    def replicated(self, rows: int, seconds: float) -> None:
        """One insert took so many rows to ClickHouse."""
        if self.is_on:
            self._replicated.inc(rows)
            self._replicate_seconds.observe(seconds)

    def archived(self, messages: int) -> None:
        """So many messages are read from ClickHouse alone from now on."""
        if self.is_on:
            self._archived.inc(messages)

    def compared(self, rows: int) -> None:
        """A check held so many of one tier against another; it is at work."""
        if self.is_on:
            self._compared.inc(rows)

    def checked(self, outcome: Literal["done", "failed"]) -> None:
        """A check came to an end."""
        if self.is_on:
            self._checks[outcome].inc()

    def breaker(self, tier: Tier, *, is_open: bool) -> None:
        """This process's breaker of a tier opened or closed."""
        if self.is_on:
            self._breakers[tier].set(is_open)
            if is_open:
                self._breaker_openings[tier].inc()

    def requested(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered. The route is its template, never its path."""
        if not self.is_on:
            return
        key = route, method, status // 100
        counted = self._requests.get(key)
        if counted is None:
            labels = route, method, f"{key[2]}xx"
            counter = self._request_count.labels(*labels)
            counted = self._requests[key] = counter, self._request_seconds.labels(*labels)
        counted[0].inc()
        counted[1].observe(seconds)

    def expect_requests(self, routes: Iterable[tuple[str, str]]) -> None:
        """Makes the counters of these routes and methods, so that a first error shows as a rate.

        The histograms, of which most routes need one, are made by the first request.
        """
        for (route, method), status in product(routes, _STATUSES if self.is_on else ()):
            self._request_count.labels(route, method, status)

    def wake_up_lost(self) -> None:
        """A task could not be sent. What it was to carry is found without it."""
        if self.is_on:
            self._wake_ups_lost.inc()

    def round_failed(self, thread: Thread) -> None:
        """A round of a thread ended in an error that nobody foresaw."""
        if self.is_on:
            self._rounds_failed[thread].inc()

    def expect_looks(self, jobs: Iterable[str]) -> None:
        """Makes the children of these jobs of a worker."""
        for job, outcome in product(jobs if self.is_on else (), _OUTCOMES):
            self._look_count.labels(job, outcome)

    def looked(self, job: str, outcome: Outcome, at: float) -> None:
        """A worker's own look ended, at seconds since 1970."""
        if self.is_on:
            self._look_count.labels(job, outcome).inc()
            if outcome == "done":
                self._look_at.labels(job).set(at)

    def expect_tasks(self, names: Iterable[str]) -> None:
        """Makes the children of these tasks."""
        for name, outcome in product(names if self.is_on else (), _OUTCOMES):
            self._task_count.labels(name, outcome)
            self._task_seconds.labels(name)

    def task_ended(self, name: str, outcome: Outcome, seconds: float) -> None:
        """A task ended."""
        if self.is_on:
            self._task_count.labels(name, outcome).inc()
            self._task_seconds.labels(name).observe(seconds)

    def sockets(self, count: int) -> None:
        """So many sockets and event streams are open in this process."""
        if self.is_on:
            self._sockets.labels("realtime").set(count)

    def totals(self) -> Totals:
        """What this process alone counted since it began, or since its folder was emptied."""
        bounds, buckets = cumulative(self._acknowledgement_histogram)
        by_tier = {tier: int(total(self._acknowledged_count, tier=tier)) for tier in TIERS}
        return Totals(
            acknowledged=by_tier,
            refused=int(total(self._refused_count)),
            failed_over=int(total(self._failed_over_count)),
            writes=buckets[-1],
            seconds=total(self._acknowledgement_histogram, suffix="_sum"),
            bounds=bounds,
            buckets=buckets,
            persisted=int(total(self._persisted)),
            replicated=int(total(self._replicated)),
            archived=int(total(self._archived)),
        )

    def damaged(self, source: Tier) -> None:
        """A tier gave a copy of a message that does not match its own hash."""
        if self.is_on:
            self._damaged[source].inc()

    def _writes(self) -> None:
        self._acknowledged_count = self._counter(
            "acknowledged", "Messages, threads and states acknowledged", "tier", "kind"
        )
        self._acknowledged = {
            key: self._acknowledged_count.labels(*key) for key in product(TIERS, _KINDS)
        }
        self._acknowledgement_histogram = self._histogram(
            "acknowledgement_seconds", "A write, until a tier had taken it", BOUNDS, "tier"
        )
        self._acknowledgement_seconds = {
            tier: self._acknowledgement_histogram.labels(tier) for tier in TIERS
        }
        self._refused_count = self._counter("refused", "Writes that no tier took", "kind", "code")
        self._refused = {key: self._refused_count.labels(*key) for key in product(_KINDS, _CODES)}
        self._failed_over_count = self._counter(
            "failed_over", "Writes that another tier took in Redis's place", "reason"
        )
        self._failed_over = {reason: self._failed_over_count.labels(reason) for reason in _REASONS}
        reads = self._histogram(
            "read_seconds",
            "A message, a page or a search, by the tier it came from",
            BOUNDS,
            "source",
        )
        self._reads = {source: reads.labels(source) for source in _SOURCES}
        damaged = self._counter(
            "damaged_copies", "Copies read that do not match their own hash", "tier"
        )
        self._damaged = {tier: damaged.labels(tier) for tier in TIERS}
        self._request_count = self._counter(
            "http_requests", "Requests, by the class of their status", "route", "method", "status"
        )
        self._request_seconds = self._histogram(
            "http_request_seconds", "A request", REQUEST_BOUNDS, "route", "method", "status"
        )
        self._requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def _carrying(self) -> None:
        self._persisted = self._counter("persisted", "Log entries committed in PostgreSQL")
        self._persist_seconds = self._histogram(
            "persist_seconds", "One batch of the log to PostgreSQL", JOB_BOUNDS
        )
        self._persist_batch = self._histogram(
            "persist_batch_entries", "Log entries in one transaction", BATCH_BOUNDS
        )
        self._dead_lettered = self._counter("dead_lettered", "Entries that PostgreSQL refused")
        self._replicated = self._counter("replicated", "Rows shipped to ClickHouse")
        self._replicate_seconds = self._histogram(
            "replicate_seconds", "One insert of the outbox into ClickHouse", JOB_BOUNDS
        )
        self._archived = self._counter("archived", "Messages that left PostgreSQL for the archive")
        self._compared = self._counter("check_compared", "Copies that checks held against others")
        checks = self._counter("checks", "Checks that came to an end", "outcome")
        self._checks = {outcome: checks.labels(outcome) for outcome in _CHECKS}

    def _work(self) -> None:
        breakers = self._gauge("breakers_open", "Processes that find a tier out", "livesum", "tier")
        self._breakers = {tier: breakers.labels(tier) for tier in TIERS}
        openings = self._counter("breaker_openings", "Times a breaker opened", "tier")
        self._breaker_openings = {tier: openings.labels(tier) for tier in TIERS}
        self._wake_ups_lost = self._counter("wake_ups_lost", "Tasks that could not be sent")
        rounds = self._counter("rounds_failed", "Rounds of own threads that failed", "thread")
        self._rounds_failed = {thread: rounds.labels(thread) for thread in get_args(Thread)}
        self._look_count = self._counter(
            "looks", "Looks of workers at what there is to carry", "look", "outcome"
        )
        self._look_at = self._gauge(
            "last_look_timestamp_seconds", "When a look last came to its end", "max", "look"
        )
        self._task_count = self._counter("tasks", "Tasks that ended", "task", "outcome")
        self._task_seconds = self._histogram("task_seconds", "A task", JOB_BOUNDS, "task")
        self._sockets = self._gauge(
            "sockets_open", "Sockets and event streams open", "liveall", "program"
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"threadkeep_{name}", meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str
    ) -> Histogram:
        name = f"threadkeep_{name}"
        return Histogram(name, meaning, labels, buckets=bounds, registry=self.registry)

    def _gauge(
        self,
        name: str,
        meaning: str,
        mode: Literal["livesum", "liveall", "max"],
        *labels: str,
    ) -> Gauge:
        """`mode` is how the processes' values become one."""
        name = f"threadkeep_{name}"
        return Gauge(name, meaning, labels, registry=self.registry, multiprocess_mode=mode)


_REASON_OF: dict[Tier, FailoverReason] = {
    "postgresql": "redis_unavailable",
    "clickhouse": "redis_and_postgresql_unavailable",
}


def code_of(error: TierError) -> Code:
    """Why a write was not acknowledged, in the words of the API."""
    return "storage_unavailable" if isinstance(error, TierUnavailable) else "storage_error"
