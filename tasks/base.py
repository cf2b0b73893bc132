"""What every task uses: the process's services, and a log line for each way to end."""

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog
from celery import Task

import programs
from storage.errors import TierUnavailable

if TYPE_CHECKING:
    from wiring.process import Services

log = structlog.get_logger(__name__)

REQUEST_IDS = "request_ids"
"""The header with the ids of the requests that a task was sent for, and the field of log lines."""

TRACEPARENTS = "traceparents"
"""The header with the spans of those requests, if they are traced."""

_services: dict[int, "Services"] = {}
_making = threading.Lock()


def services() -> "Services":
    """The services of this process, made on first use and again after a fork."""
    # Beat and Flower load this module too, and run no task.
    from wiring.process import Services  # noqa: PLC0415

    pid = os.getpid()
    with _making:
        if pid not in _services:
            _services.clear()
            _services[pid] = Services(programs.load("worker"))
        return _services[pid]


class JobTask(Task):  # type: ignore[type-arg]  # Celery's class takes none at run time.
    """Logs done, postponed and failed with the time taken.

    A tier that does not answer postpones a job: its work stays in the log, and the next wake-up,
    sweep or poll does it.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs it, with its name and the ids of its requests in each log line."""
        given = {"task": self.name, REQUEST_IDS: self.request.get(REQUEST_IDS)}
        named = {name: value for name, value in given.items() if value}
        traced = services().tiers.tracing.work(self.name, self.request.get(TRACEPARENTS) or ())
        with structlog.contextvars.bound_contextvars(**named), traced:
            return self._run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        record = services().tiers.instruments.task_ended
        try:
            result = super().__call__(*args, **kwargs)
        except TierUnavailable as error:
            record(self.name, "postponed", time.monotonic() - started)
            # The breaker has logged already that the tier is not tried any more.
            report = log.warning if error.tried else log.debug
            report("postponed", tier=error.tier, reason=error.reason)
            return None
        except Exception as error:
            record(self.name, "failed", time.monotonic() - started)
            # Celery logs the traceback, but not the requests that it was sent for.
            log.error("failed", error=type(error).__name__)
            raise
        seconds = time.monotonic() - started
        record(self.name, "done", seconds)
        took_ms = round(seconds * 1000, 1)
        log.debug("done", took_ms=took_ms, result=result)
        return result
