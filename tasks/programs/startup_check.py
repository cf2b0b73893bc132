"""The safety checks that a worker makes before anything else."""

import sys
from typing import Any

from celery import bootsteps
from celery.worker import state

import programs
import settings
from settings import Settings
from storage.availability.checks import safety
from storage.availability.checks.safety import SafetyVerdict, Watch
from storage.errors import Refused


class Guard(bootsteps.StartStopStep):
    """Refuses before any other step of the worker starts, and ends the worker if a tier that was
    silent at the start turns out to be unsafe."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._watch: Watch | None = None

    def create(self, parent: Any) -> None:
        """Runs while the worker is built. A refusal ends it with one line and status 1."""
        try:
            own = programs.load("worker")
            self._watch = Watch(own, judged(own))
        except settings.SettingsError as error:
            sys.exit(f"threadkeep: {error}")
        except Refused as error:
            sys.exit(f"threadkeep: refused: {error}")

    def start(self, parent: Any) -> None:
        # After the pool, whose processes must not be forked beside a thread.
        if self._watch is not None:
            self._watch.begin(_end_worker)

    def stop(self, parent: Any) -> None:
        if self._watch is not None:
            self._watch.end()

    terminate = stop


def judged(own: Settings) -> SafetyVerdict:
    """The verdict of the checks, of which it tells. Raises `Refused`."""
    verdict = safety.check(own)
    safety.report(verdict)
    return verdict


def _end_worker(reason: str) -> None:
    """Ends the worker in order: Celery's loop reads the flag and stops with this status."""
    sys.stderr.write(f"threadkeep: refused: {reason}\n")
    state.should_stop = 1  # type: ignore[assignment]  # The stubs know its first value only.
