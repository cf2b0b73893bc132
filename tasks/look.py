"""A worker's own look at the log and the outbox, with no help from beat or the queue.

It runs in a thread of the worker's main process from before the first connection to the broker
until the worker stops. So messages land with beat dead, with the broker gone, and with every
Celery message lost.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery import bootsteps

from storage.errors import TierError
from tasks.base import services

log = structlog.get_logger(__name__)


class Look(bootsteps.StartStopStep):
    """Starts and stops the thread with the worker."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, parent: Any) -> None:
        self._stop.clear()
        self._thread = threading.Thread(
            target=run, args=(self._stop,), name="look-at-the-log", daemon=True
        )
        self._thread.start()

    def stop(self, parent: Any) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    terminate = stop


def run(stop: threading.Event) -> None:
    """Looks until told to stop; a tier that is down is tried again at the next look."""
    own = services()
    next_ship = 0.0
    while not stop.wait(own.settings.drain_look_seconds):
        _guarded("persist", own.persistence.drain_backlog)
        if time.monotonic() >= next_ship:
            next_ship = time.monotonic() + own.settings.ship_look_seconds
            _guarded("replicate", own.replication.ship_all)


def _guarded(job: str, look: Callable[[], object]) -> None:
    try:
        look()
    except TierError as error:
        log.warning("postponed", job=job, tier=error.tier, reason=error.reason)
    except Exception:
        # Whatever it was, the next look must come: a thread that died would be a worker that
        # is up and does nothing.
        log.exception("look_failed", job=job)
