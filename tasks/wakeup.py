"""Wakes the workers, outside the request.

A request only names a slot; one thread per process sends the tasks. A task that cannot be sent is
counted and dropped: the workers poll the log anyway. A task carries the ids of some of the requests
that it was sent for, so that the worker's log has them too, and their traces continue there.
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from storage.telemetry.instruments import Instruments
from tasks.base import REQUEST_IDS, TRACEPARENTS
from tasks.celery_app import app

log = structlog.get_logger(__name__)

NAMED_REQUESTS = 5


class _Origin(NamedTuple):
    request_id: str
    traceparent: str


class WakeUps:
    """The sender of a process. Starts its thread at the first request, after any fork."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._slots: dict[int, list[_Origin]] = {}
        self._names: set[str] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_failing = False

    def request(self, slot: int, request_id: str = "", traceparent: str = "") -> None:
        """Has a worker drain this slot soon. Returns at once, never raises."""
        with self._changed:
            named = self._slots.setdefault(slot, [])
            if request_id and len(named) < NAMED_REQUESTS:
                named.append(_Origin(request_id, traceparent))
            self._notify()

    def send(self, name: str) -> None:
        """Has a worker run a task without arguments soon. Returns at once, never raises."""
        with self._changed:
            self._names.add(name)
            self._notify()

    def _notify(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="wake-ups", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slots or self._names)
                slots, self._slots = sorted(self._slots.items()), {}
                names, self._names = sorted(self._names), set()
            for slot, origins in slots:
                self._send("persist.drain_shard", (slot,), origins)
            for name in names:
                self._send(name)

    def _send(
        self, name: str, arguments: tuple[int, ...] = (), origins: Sequence[_Origin] = ()
    ) -> None:
        given = {
            REQUEST_IDS: [one.request_id for one in origins],
            TRACEPARENTS: [one.traceparent for one in origins if one.traceparent],
        }
        headers = {header: values for header, values in given.items() if values}
        try:
            app.send_task(name, arguments, expires=30, retry=False, headers=headers)
        except (Exception, SystemExit) as error:
            # Wrong settings of Celery raise SystemExit, which must not end a web process.
            self._instruments.wake_up_lost()
            if not self._is_failing:
                log.warning("wake_ups_lost", error=type(error).__name__)
            self._is_failing = True
        else:
            self._is_failing = False
