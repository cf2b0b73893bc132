"""The worker's polling threads: each does one job on a fixed interval, without beat and broker.

They run in the worker's main process from before the first connection to the broker until the
worker stops, and one that waits for a frozen server holds up no other. So messages reach PostgreSQL
with beat dead, the broker gone, and every Celery message lost. Where nothing happens they sleep:
that of the log waits in Redis for an entry, and those of the queues share one question.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from celery import bootsteps

from storage.errors import TierError
from storage.telemetry.instruments import Instruments
from tasks.base import services
from tasks.waiting import LogDrain, RecoveryPoll, WaitingWork
from wiring.process import Services

log = structlog.get_logger(__name__)


class Poller(bootsteps.StartStopStep):
    """Starts and stops the polling threads with the worker."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, parent: Any) -> None:
        self._stop.clear()
        self._threads = begin(services(), self._stop)
        services().tiers.instruments.expect_tasks(
            name for name in parent.app.tasks if not name.startswith("celery.")
        )
        services().drills.watch()
        services().performance.begin(judges=True)

    def stop(self, parent: Any) -> None:
        self._stop.set()
        services().tiers.pending_log.end_wait()
        for thread in self._threads:
            thread.join(timeout=5)

    terminate = stop


class PollingJob:
    """A job that is polled for; logs when a tier holds it up, and when it continues."""

    def __init__(
        self,
        name: str,
        every_seconds: float,
        poll: Callable[[], object],
        instruments: Instruments,
    ) -> None:
        self.name = name
        self._instruments = instruments
        self._every_seconds = every_seconds
        self._poll = poll
        self._held_up_by = ""

    def run(self, stop: threading.Event) -> None:
        """Polls until `stop` is set; a tier that is down is tried again at the next poll.

        The interval runs from one poll's start to the next one's.
        """
        due = time.monotonic() + self._every_seconds
        while not stop.wait(max(0.0, due - time.monotonic())):
            due = time.monotonic() + self._every_seconds
            self.poll()

    def poll(self) -> None:
        """Polls once. Never raises: a worker whose thread had died would be up and do nothing."""
        try:
            self._poll()
        except TierError as error:
            if self._held_up_by != error.tier:
                log.warning("held_up", job=self.name, tier=error.tier, reason=error.reason)
            self._held_up_by = error.tier
            self._instruments.polled(self.name, "postponed", time.time())
        except Exception:
            self._instruments.polled(self.name, "failed", time.time())
            log.exception("look_failed", job=self.name)
        else:
            self._instruments.polled(self.name, "done", time.time())
            if self._held_up_by:
                log.info("goes_on", job=self.name, after=self._held_up_by)
            self._held_up_by = ""


class RedisReconciler:
    """Backfills Redis. That makes its lists of threads stale, so those of active users are warmed
    afterwards, by a job of its own: the backfill must not wait for it."""

    def __init__(self, own: Services, waits: WaitingWork) -> None:
        self._own = own
        self._waits = waits
        self._is_cold = threading.Event()

    def reconcile(self) -> None:
        """Adopts a restarted Redis, and backfills what it lacks."""
        recovery = self._own.failover.redis_recovery
        is_new = recovery.adopt()
        if self._waits.then("redis_backfill", recovery.backfill_all)() or is_new:
            self._is_cold.set()

    def warm(self) -> None:
        """Warms lists of threads, if anything was backfilled."""
        if self._is_cold.is_set():
            self._is_cold.clear()
            self._own.thread_cache_manager.warm_active()


def begin(own: Services, stop: threading.Event) -> list[threading.Thread]:
    """Starts the polls of a worker, each in a thread, until `stop` is set.

    Redis is adopted before the first drain: one that is adopted after an Idempotency-Key was
    committed may lack another, and is not believed about keys for a day.
    """
    with suppress(TierError):
        own.failover.redis_recovery.adopt()
    threads = [
        threading.Thread(target=job.run, args=(stop,), name=job.name, daemon=True)
        for job in jobs(own)
    ]
    for thread in threads:
        thread.start()
    return threads


def jobs(own: Services) -> list[PollingJob]:
    """The polling jobs of a worker."""
    settings, waits = own.settings, WaitingWork(own)
    reconciler = RedisReconciler(own, waits)
    shipping, recovery = settings.ship_look_seconds, settings.recovery_look_seconds
    polls: list[tuple[str, float, Callable[[], object]]] = [
        ("persist", settings.drain_look_seconds, LogDrain(own).drain),
        ("replicate", shipping, waits.then("clickhouse_outbox", own.jobs.replication.ship_all)),
        ("ship-audit", shipping, waits.then("audit_outbox", own.jobs.audit_outbox.ship_all)),
        ("ship-row-copies", shipping, waits.then("row_copies_outbox", own.jobs.row_copies.ship)),
        ("tend-redis", recovery, reconciler.reconcile),
        ("warm-lists", recovery, reconciler.warm),
        ("bring-home", recovery, waits.bring_home),
        ("interrupt-streams", settings.stream_look_seconds, own.streaming.interrupt_idle),
        ("recover", settings.disaster_look_seconds, RecoveryPoll(own).go_on),
    ]
    own.tiers.instruments.expect_polls(name for name, _, _ in polls)
    return [
        PollingJob(
            name, seconds, partial(own.tiers.tracing.poll, name, poll), own.tiers.instruments
        )
        for name, seconds, poll in polls
    ]
