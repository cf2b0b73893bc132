"""The second look: judges what was silent at start, as soon as it answers."""

from collections.abc import Callable

from settings import Settings
from storage.availability.checks import safety
from storage.availability.checks.safety import SafetyVerdict
from storage.resilience.periodic import PeriodicThread

LOOK_SECONDS = 1.0


class Watch:
    """What a process knows of what it was given, and its thread that looks on where that is not
    yet all, or where something refuses, until it does no more."""

    def __init__(self, settings: Settings, start: SafetyVerdict | None = None) -> None:
        """Looks at nothing yet. `start` is what was found at start."""
        self._settings = settings
        self._verdict = start or SafetyVerdict([])
        self._on_refusal: Callable[[str], None] = lambda line: None
        self._thread = PeriodicThread(
            "safety-watch",
            self._look,
            lambda: LOOK_SECONDS,
            "safety_not_judged",
            is_wanted=lambda: bool(self._open_tiers()),
            waits_first=True,
        )

    @property
    def reason(self) -> str:
        """Why this process refuses at the moment; empty where it does not."""
        return self._verdict.reason

    def begin(self, on_refusal: Callable[[str], None] = lambda line: None) -> None:
        """Starts the thread, where there is anything to wait for.

        `on_refusal` is called in it with the reason, once for each reason.
        """
        self._on_refusal = on_refusal
        if self._open_tiers():
            self._thread.begin()

    def end(self) -> None:
        """Lets the thread end after its present look."""
        self._thread.end()

    def _open_tiers(self) -> list[str]:
        return sorted({finding.tier for finding in self._verdict.silent + self._verdict.refusals})

    def _look(self) -> None:
        tiers, before = self._open_tiers(), self._verdict
        found = safety.look(self._settings, tiers)
        rest = [finding for finding in before.findings if finding.tier not in tiers]
        self._verdict = SafetyVerdict([*rest, *found.findings])
        answered = {finding.tier for finding in before.silent}
        answered -= {finding.tier for finding in found.silent}
        safety.report(
            SafetyVerdict([finding for finding in found.findings if finding.tier in answered])
        )
        if self.reason and self.reason != before.reason:
            self._on_refusal(self.reason)
