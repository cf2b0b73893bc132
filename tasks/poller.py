"""A worker's own look at what there is to carry, with no help from beat or the queue.

Each job has a thread of the worker's main process, from before the first connection to the broker
until the worker stops: one that waits for a frozen server holds up no other. So messages land with
beat dead, with the broker gone, and with every Celery message lost.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from celery import bootsteps

from storage.errors import TierError
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.instruments import Instruments
from tasks.base import services
from wiring.process import Services

log = structlog.get_logger(__name__)


class Poller(bootsteps.StartStopStep):
    """Starts and stops the threads with the worker."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._threads: list[PeriodicThread] = []

    def start(self, parent: Any) -> None:
        self._threads = [job.thread for job in jobs(services())]
        services().instruments.expect_tasks(
            name for name in parent.app.tasks if not name.startswith("celery.")
        )
        for thread in self._threads:
            thread.begin()
        services().drills.watch()
        services().performance.begin(judges=True)

    def stop(self, parent: Any) -> None:
        for thread in self._threads:
            thread.end()
        for thread in self._threads:
            thread.join(5)

    terminate = stop


class PollingJob:
    """Something to look for again and again; logs when it is held up, and when it goes on."""

    def __init__(
        self,
        name: str,
        every_seconds: float,
        look: Callable[[], object],
        instruments: Instruments,
    ) -> None:
        self.name = name
        self._instruments = instruments
        self._look = look
        self._held_up_by = ""
        self.thread = PeriodicThread(
            name, self.look, lambda: every_seconds, "look_failed", waits_first=True
        )

    def look(self) -> None:
        """One look. Whatever happens, the next must come: a thread that died would be a worker
        that is up and does nothing."""
        try:
            self._look()
        except TierError as error:
            if self._held_up_by != error.tier:
                log.warning("held_up", job=self.name, tier=error.tier, reason=error.reason)
            self._held_up_by = error.tier
            self._instruments.looked(self.name, "postponed", time.time())
        except Exception:
            self._instruments.looked(self.name, "failed", time.time())
            log.exception("look_failed", job=self.name)
        else:
            self._instruments.looked(self.name, "done", time.time())
            if self._held_up_by:
                log.info("goes_on", job=self.name, after=self._held_up_by)
            self._held_up_by = ""


class RedisReconciler:
    """Redis is told what it missed; after that no list of threads in it holds any more, so those
    of active users are read anew, by a job of its own: telling must not wait for that."""

    def __init__(self, own: Services) -> None:
        self._own = own
        self._is_cold = threading.Event()

    def tend(self) -> None:
        """Adopts a Redis that was restarted, and tells it what it lacks."""
        is_new = self._own.redis_recovery.adopt()
        if self._own.redis_recovery.backfill_all() or is_new:
            self._is_cold.set()

    def warm(self) -> None:
        """Warms lists of threads, if Redis was told something."""
        if self._is_cold.is_set():
            self._is_cold.clear()
            self._own.thread_cache_manager.warm_active()


def jobs(own: Services) -> list[PollingJob]:
    """What a worker looks for by itself."""
    settings, tending = own.settings, RedisReconciler(own)
    looks: list[tuple[str, float, Callable[[], object]]] = [
        ("persist", settings.drain_look_seconds, own.persistence.drain_backlog),
        ("replicate", settings.ship_look_seconds, own.replication.ship_all),
        ("ship-audit", settings.ship_look_seconds, own.audit_outbox.ship_all),
        ("ship-row-copies", settings.ship_look_seconds, own.row_copies.ship),
        ("tend-redis", settings.recovery_look_seconds, tending.tend),
        ("warm-lists", settings.recovery_look_seconds, tending.warm),
        ("bring-home", settings.recovery_look_seconds, own.homecoming.replay),
        ("interrupt-streams", settings.stream_look_seconds, own.streaming.interrupt_idle),
        ("recover", settings.disaster_look_seconds, own.disaster_recovery.go_on),
    ]
    own.instruments.expect_looks(name for name, _, _ in looks)
    return [
        PollingJob(name, seconds, partial(own.tracing.look, name, look), own.instruments)
        for name, seconds, look in looks
    ]
