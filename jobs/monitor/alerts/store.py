"""Keeps the state of the alerts and the annotations of admins, whichever tier is down: two notices,
since evaluators write the one and the web processes the other."""

from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from jobs.monitor.alerts.state import Alert, AlertState
from jobs.monitor.windows import window_of
from models import ids
from models.message import Tier
from storage.availability.notices import TIERS, Notices
from storage.availability.probes import Breakers
from storage.errors import TierError

STATE = "alerts"
MARKS = "alert-marks"
FRESH_WINDOWS = 3
"""A state that is older was left behind: others may have judged elsewhere since."""
AHEAD_WINDOWS = 15
"""Clocks of two machines are closer together than that."""
KEPT_MARKS = 200

T = TypeVar("T")


class Acknowledgment(msgspec.Struct, frozen=True, kw_only=True):
    """Who has seen an alert, and when, RFC 3339."""

    by: str
    at: str


class PendingAuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An action of an admin that the audit trail does not have yet."""

    actor: str
    action: str
    alert_id: str
    details: dict[str, Any]


class Annotations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What admins said: who acknowledged which alert, and until when which kind of alert is silent,
    in seconds since 1970."""

    acknowledged: dict[str, Acknowledgment] = {}
    silenced_until: dict[str, float] = {}
    untold: list[PendingAuditEntry] = []

    def is_silent(self, alert: Alert, now: float) -> bool:
        """Whether nobody is to be notified of this alert at the moment."""
        return self.silenced_until.get(alert.key, 0.0) > now

    def of(self, alert: Alert, now: float) -> Alert:
        """An alert with what admins said of it."""
        until = None
        if self.is_silent(alert, now):
            until = ids.timestamp(int(self.silenced_until[alert.key] * 1e6))
        seen = self.acknowledged.get(alert.id)
        by, at = (seen.by, seen.at) if seen else (None, None)
        return msgspec.structs.replace(
            alert, acknowledged_by=by, acknowledged_at=at, silenced_until=until
        )


def alert_fields(alert: Alert) -> dict[str, object]:
    """An alert as callers see it: its figures stand beside its type."""
    shown: dict[str, object] = msgspec.to_builtins(alert)
    del shown["subject"], shown["figures"]
    return {**shown, **alert.figures}


class AlertStore:
    """One process's way to both notices. A tier whose breaker is open is not asked."""

    def __init__(self, notices: Notices, breakers: Breakers) -> None:
        self._notices = notices
        self._breakers = breakers
        self._known = AlertState()

    def read(self, now: float) -> AlertState:
        """The newest state that any tier or this process knows, at a moment."""
        for tier in self._open_tiers():
            found = self._read(STATE, AlertState, (tier,)) or AlertState()
            if _as_of(found, now) >= _as_of(self._known, now):
                self._known = found
            if _as_of(self._known, now) >= window_of(now) - FRESH_WINDOWS:
                break
        return self._known

    def keep(self, state: AlertState, *, everywhere: bool) -> None:
        """Keeps a state here, and in the first tier that takes it or in all that do."""
        self._known = state
        tiers = self._open_tiers()
        if not everywhere:
            # ClickHouse takes few inserts well.
            tiers = tuple(tier for tier in tiers if tier != "clickhouse")
        # Where no tier takes it this process knows it, and writes it to the next that answers.
        with suppress(TierError):
            self._notices.write(STATE, state, tiers=tiers, only_one=not everywhere)

    def marks(self) -> Annotations:
        """What admins said, as the first two tiers that answer know it."""
        return self._read(MARKS, Annotations, self._open_tiers()[:2]) or Annotations()

    def mark(self, marks: Annotations) -> None:
        """Keeps what admins said, wherever it can be kept. Raises `NoTierAvailable`."""
        kept = msgspec.structs.replace(
            marks,
            acknowledged=_newest(marks.acknowledged),
            silenced_until=_newest(marks.silenced_until),
            untold=marks.untold[-KEPT_MARKS:],
        )
        self._notices.write(MARKS, kept, tiers=self._open_tiers())

    def _read(self, name: str, shape: type[T], tiers: tuple[Tier, ...]) -> T | None:
        try:
            found = self._notices.read(name, tiers=tiers)
            return None if found is None else msgspec.json.decode(found, type=shape)
        except (TierError, msgspec.MsgspecError):
            # One that another version wrote differently is as good as none.
            return None

    def _open_tiers(self) -> tuple[Tier, ...]:
        found = tuple(tier for tier in TIERS if self._breakers.of(tier).is_closed)
        # With every breaker open asking costs as much as not knowing.
        return found or TIERS


def _as_of(state: AlertState, now: float) -> int:
    """The window it is of. One from the future, by a clock that was wrong, is of none."""
    return state.window if state.window <= window_of(now) + AHEAD_WINDOWS else -1


def _newest(marks: dict[str, T]) -> dict[str, T]:
    return dict(list(marks.items())[-KEPT_MARKS:])
