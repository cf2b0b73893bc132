"""The second look: judges what was silent at start, as soon as it answers."""

import threading
from collections.abc import Callable

from settings import Settings
from storage.availability.checks import safety
from storage.availability.checks.safety import SafetyVerdict

LOOK_SECONDS = 1.0


class Watch:
    """What a process knows of what it was given, and its thread that looks on where that is not
    yet all, or where something refuses, until it does no more."""

    def __init__(self, settings: Settings, start: SafetyVerdict | None = None) -> None:
        """Looks at nothing yet. `start` is what was found at start."""
        self._settings = settings
        self._verdict = start or SafetyVerdict([])
        self._stop = threading.Event()

    @property
    def reason(self) -> str:
        """Why this process refuses at the moment; empty where it does not."""
        return self._verdict.reason

    def begin(self, on_refusal: Callable[[str], None] = lambda line: None) -> None:
        """Starts the thread, where there is anything to wait for.

        `on_refusal` is called in it with the reason, once for each reason.
        """
        if self._open_tiers():
            threading.Thread(
                target=self._run, args=(on_refusal,), name="safety-watch", daemon=True
            ).start()

    def end(self) -> None:
        """Lets the thread end after its present look."""
        self._stop.set()

    def _open_tiers(self) -> list[str]:
        return sorted({finding.tier for finding in self._verdict.silent + self._verdict.refusals})

    def _run(self, on_refusal: Callable[[str], None]) -> None:
        while (tiers := self._open_tiers()) and not self._stop.wait(LOOK_SECONDS):
            before = self._verdict
            found = safety.look(self._settings, tiers)
            rest = [finding for finding in before.findings if finding.tier not in tiers]
            self._verdict = SafetyVerdict([*rest, *found.findings])
            answered = {finding.tier for finding in before.silent}
            answered -= {finding.tier for finding in found.silent}
            safety.report(
                SafetyVerdict([finding for finding in found.findings if finding.tier in answered])
            )
            if self.reason and self.reason != before.reason:
                on_refusal(self.reason)
