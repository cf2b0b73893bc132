"""Alerts as callers see them, over HTTP, from the command line and by the webhook."""

from jobs.monitor.alerts.state import Alert
from jobs.monitor.alerts.store import AnnotatedAlert


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


def annotated_fields(one: AnnotatedAlert) -> dict[str, object]:
    """An alert, and what admins said to it."""
    shown = alert_fields(one.alert)
    if seen := one.acknowledged:
        shown |= {"acknowledged_by": seen.by, "acknowledged_at": seen.at}
    if one.silenced_until is not None:
        shown["silenced_until"] = one.silenced_until
    return shown
