"""Alerts as callers see them, over HTTP, from the command line and by the webhook."""

import msgspec

from jobs.monitor.alerts.history import PastAlert
from jobs.monitor.alerts.state import Alert
from jobs.monitor.alerts.store import Acknowledgment


class ActiveAlert(msgspec.Struct, kw_only=True, frozen=True):
    """An alert that stands, and what admins said to it; times are RFC 3339."""

    alert: Alert
    acknowledged: Acknowledgment | None
    silenced_until: str | None


def alert_fields(alert: Alert) -> dict[str, object]:
    """An alert as callers see it: its figures stand beside its type."""
    shown: dict[str, object] = {
        "id": alert.id,
        "type": alert.type,
        "priority": alert.priority,
        "since": alert.since,
        "detail": alert.detail,
        **alert.figures,
    }
    return shown if alert.until is None else {**shown, "until": alert.until}


def active_alert(one: ActiveAlert) -> dict[str, object]:
    """One that stands."""
    shown = alert_fields(one.alert) | _seen(one.acknowledged)
    return shown if one.silenced_until is None else shown | {"silenced_until": one.silenced_until}


def past_alert(one: PastAlert) -> dict[str, object]:
    """One of now or before."""
    return alert_fields(one.alert) | _seen(one.acknowledged)


def _seen(acknowledged: Acknowledgment | None) -> dict[str, object]:
    if acknowledged is None:
        return {}
    return {"acknowledged_by": acknowledged.by, "acknowledged_at": acknowledged.at}
