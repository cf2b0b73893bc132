"""The worker's polling threads: each does one job on a fixed interval, without beat and broker.

They run in the worker's main process from before the first connection to the broker until the
worker stops, and one that waits for a frozen server holds up no other. So messages reach PostgreSQL
with beat dead, the broker gone, and every Celery message lost.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from celery import bootsteps

from storage.errors import TierError
from storage.telemetry.instruments import Instruments
from tasks.base import services
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
        self._threads = [
            threading.Thread(target=job.run, args=(self._stop,), name=job.name, daemon=True)
            for job in jobs(services())
        ]
        services().tiers.instruments.expect_tasks(
            name for name in parent.app.tasks if not name.startswith("celery.")
        )
        for thread in self._threads:
            thread.start()
        services().drills.watch()
        services().performance.begin(judges=True)

    def stop(self, parent: Any) -> None:
        self._stop.set()
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
        """Polls until `stop` is set; a tier that is down is tried again at the next poll."""
        while not stop.wait(self._every_seconds):
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

    def __init__(self, own: Services) -> None:
        self._own = own
        self._is_cold = threading.Event()

    def reconcile(self) -> None:
        """Adopts a restarted Redis, and backfills what it lacks."""
        is_new = self._own.failover.redis_recovery.adopt()
        if self._own.failover.redis_recovery.backfill_all() or is_new:
            self._is_cold.set()

    def warm(self) -> None:
        """Warms lists of threads, if anything was backfilled."""
        if self._is_cold.is_set():
            self._is_cold.clear()
            self._own.thread_cache_manager.warm_active()


def jobs(own: Services) -> list[PollingJob]:
    """The polling jobs of a worker."""
    settings, reconciler = own.settings, RedisReconciler(own)
    polls: list[tuple[str, float, Callable[[], object]]] = [
        ("persist", settings.drain_look_seconds, own.jobs.persistence.drain_backlog),
        ("replicate", settings.ship_look_seconds, own.jobs.replication.ship_all),
        ("ship-audit", settings.ship_look_seconds, own.jobs.audit_outbox.ship_all),
        ("ship-row-copies", settings.ship_look_seconds, own.jobs.row_copies.ship),
        ("tend-redis", settings.recovery_look_seconds, reconciler.reconcile),
        ("warm-lists", settings.recovery_look_seconds, reconciler.warm),
        ("bring-home", settings.recovery_look_seconds, own.failover.handoff.replay),
        ("interrupt-streams", settings.stream_look_seconds, own.streaming.interrupt_idle),
        ("recover", settings.disaster_look_seconds, own.jobs.disaster_recovery.go_on),
    ]
    own.tiers.instruments.expect_polls(name for name, _, _ in polls)
    return [
        PollingJob(
            name, seconds, partial(own.tiers.tracing.poll, name, poll), own.tiers.instruments
        )
        for name, seconds, poll in polls
    ]
