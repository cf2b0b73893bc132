"""`threadkeep alerts`: list, acknowledge and mute alerts."""

import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

import settings
from jobs.monitor.alerts.monitor import PerformanceMonitor
from jobs.monitor.alerts.state import Alert
from jobs.monitor.alerts.store import alert_fields
from storage.errors import NotFound
from webapp.cli.jobs.archive import DurationType
from webapp.cli.operator import operator
from wiring.process import Services

_ALERT = click.argument("alert_id", metavar="ID")


@click.group()
def alerts() -> None:
    """List alerts, acknowledge them, or mute their notifications."""


@alerts.command("list")
@click.option("--history", is_flag=True, help="Also earlier ones.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_alerts(history: bool, as_json: bool) -> None:
    """List the firing alerts. Exit status 1 if there is any."""
    monitor = _monitor()
    found = monitor.active()
    if as_json:
        shown = [alert_fields(one) for one in found]
        past = [alert_fields(one) for one in monitor.history()] if history else []
        click.echo(msgspec.json.encode({"active_alerts": shown, "history": past}))
    else:
        for one in found:
            click.echo(_line(one))
        if not found:
            click.echo("nothing is wrong")
        if history:
            Console(highlight=False).print(_table(monitor))
    if found:
        sys.exit(1)


@alerts.command("acknowledge")
@_ALERT
def acknowledge_alert(alert_id: str) -> None:
    """Acknowledge a firing alert."""
    try:
        seen = _monitor().acknowledge(alert_id, operator())
    except NotFound:
        raise _unknown(alert_id) from None
    click.echo(f"acknowledged by {seen.acknowledged_by}")


@alerts.command("silence")
@_ALERT
@click.option("--for", "seconds", type=DurationType(), required=True, help="How long, such as 2h.")
def silence_alert(alert_id: str, seconds: float) -> None:
    """Mute notifications for this alert type; it stays listed."""
    try:
        silenced = _monitor().silence(alert_id, seconds, operator())
    except NotFound:
        raise _unknown(alert_id) from None
    click.echo(f"silent until {silenced.silenced_until or 'now'}")


def _monitor() -> PerformanceMonitor:
    return Services(settings.load()).performance.monitor


def _line(alert: Alert) -> str:
    seen = f", seen by {alert.acknowledged_by}" if alert.acknowledged_by else ""
    silent = f", silent until {alert.silenced_until}" if alert.silenced_until else ""
    return (
        f"{alert.priority} {alert.type}  {alert.detail}  ({alert.id}, {alert.since}{seen}{silent})"
    )


def _table(monitor: PerformanceMonitor) -> Table:
    table = Table(title="Earlier alerts")
    for heading in ("type", "since", "until", "seen by", "detail"):
        table.add_column(heading, overflow="fold")
    for alert in monitor.history():
        seen = alert.acknowledged_by or ""
        cells = (alert.type, alert.since, alert.until or "", seen, alert.detail)
        table.add_row(*map(Text, cells))
    return table


def _unknown(alert_id: str) -> click.ClickException:
    return click.ClickException(f"no alert {alert_id} stands")
