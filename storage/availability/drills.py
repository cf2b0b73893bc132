"""Drills on the running system: every process takes some tiers for silent, or slow, for a while.

A drill is a notice; each process measures what is left of it by its own clock, so that it ends
whatever becomes of the tiers and of the notice.
"""

import time
from contextlib import suppress

import msgspec
import structlog

from models import ids
from models.ids import Clock
from settings import Settings
from storage.availability.notices import TIERS, Notices
from storage.errors import TierError
from storage.resilience import simulated_outage
from storage.resilience.periodic import PeriodicThread

log = structlog.get_logger(__name__)

NOTICE = "drill"
POLL_SECONDS = 0.2
SETTLED_SECONDS = 0.8
"""After this long every process that is well has seen a new drill."""
MAX_SECONDS = 300.0

SCENARIOS: dict[str, frozenset[str]] = {
    "none": frozenset(),
    **{f"{tier}_unavailable": frozenset({tier}) for tier in TIERS},
    "redis_and_postgresql_unavailable": frozenset({"redis", "postgresql"}),
    "all_unavailable": frozenset(TIERS),
}
"""What each scenario takes away; `none` ends the drill that is on."""

SLOW_SCENARIOS = {"none": frozenset[str](), **{f"{tier}_slow": frozenset({tier}) for tier in TIERS}}
"""What each scenario makes slow, without an outage."""

SLOW_SECONDS = 0.025
"""What each call to a slow tier waits first at intensity 1: less than opens a breaker, even where
somebody makes several calls in a row."""
MAX_INTENSITY = 10.0


class Drill(msgspec.Struct, kw_only=True, frozen=True):
    """A drill. `ends_at` is in seconds since 1970."""

    id: str
    scenario: str
    actor: str
    duration_seconds: float
    ends_at: float
    intensity: float = 0.0

    @property
    def delays(self) -> dict[str, float]:
        """The seconds that each call waits first, by tier."""
        slow = SLOW_SCENARIOS.get(self.scenario, frozenset())
        return dict.fromkeys(slow, self.intensity * SLOW_SECONDS)

    @property
    def tiers(self) -> frozenset[str]:
        """The tiers that seem to be out."""
        return SCENARIOS.get(self.scenario, frozenset())


class DrillService:
    """Begins drills, and takes part in them."""

    def __init__(self, settings: Settings, notices: Notices, clock: Clock) -> None:
        self._settings = settings
        self._notices = notices
        self._clock = clock
        self._known = ""
        self._thread = PeriodicThread(
            "drills", self._poll, lambda: POLL_SECONDS, "drill_not_read", shows_traceback=False
        )

    def begin(
        self, scenario: str, duration_seconds: float, actor: str, intensity: float = 0.0
    ) -> Drill:
        """Begins a drill in place of any other; returns when every process that is well takes
        part. Raises `NoTierAvailable`."""
        begun = Drill(
            id=ids.mint(self._clock.now_us(), 0),
            scenario=scenario,
            actor=actor,
            duration_seconds=duration_seconds,
            ends_at=time.time() + duration_seconds,
            intensity=intensity,
        )
        self._notices.write(NOTICE, begun)
        self._take_part(begun)
        time.sleep(SETTLED_SECONDS)
        return begun

    def watch(self) -> None:
        """Polls for drills from now on, in a thread, where they are allowed."""
        if self._settings.drills:
            self._thread.begin()

    def _poll(self) -> None:
        # Where nobody can be asked, that is as good a drill as any.
        with suppress(TierError):
            found = self._notices.read(NOTICE, first_answer=True)
            if found is not None:
                self._take_part(msgspec.json.decode(found, type=Drill))

    def _take_part(self, found: Drill) -> None:
        if found.id == self._known:
            return
        self._known = found.id
        seconds = min(found.ends_at - time.time(), found.duration_seconds, MAX_SECONDS)
        # A process that learns late that a drill was ended ends it all the same.
        if seconds > 0 or found.scenario == "none":
            simulated_outage.begin(found.tiers, found.delays, seconds)
        if seconds > 0:
            log.warning("drill", scenario=found.scenario, seconds=round(seconds, 3))
