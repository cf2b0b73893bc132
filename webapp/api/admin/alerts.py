"""The routes of alerts: those that fire, those that are resolved, and what admins do about them."""

from typing import Annotated

import msgspec
from flask import Blueprint, Response
from msgspec import UNSET, Meta, UnsetType

from jobs.monitor.alerts.store import alert_fields
from webapp.http.body.reading import body_as
from webapp.http.context import caller, web
from webapp.http.operation import Operation
from webapp.http.requests import answer, query_flag
from webapp.http.schemas import RequestBody

blueprint = Blueprint("alerts", __name__, url_prefix="/performance-alerts")

MAX_SILENCE_SECONDS = 30 * 86_400


class SilenceAlert(RequestBody, kw_only=True, frozen=True):
    """For how long notifications of this type are muted; 0 ends that."""

    seconds: Annotated[float, Meta(ge=0, le=MAX_SILENCE_SECONDS)]


class PerformanceAlert(msgspec.Struct, kw_only=True, frozen=True):
    """An alert. In addition it has the figures of its type, as `performance_degradation` has
    `baseline_avg_ms`, `current_avg_ms` and `degradation_percent`."""

    id: str
    type: str
    priority: Annotated[str, Meta(description="`P0` is more severe than `P1`.")]
    since: str
    detail: str
    until: str | UnsetType = UNSET
    acknowledged_by: str | UnsetType = UNSET
    acknowledged_at: str | UnsetType = UNSET
    silenced_until: str | UnsetType = UNSET


class PerformanceAlerts(msgspec.Struct, kw_only=True, frozen=True):
    """Firing alerts, the most severe first; with `history=true` also the earlier ones."""

    active_alerts: list[PerformanceAlert]
    history: list[PerformanceAlert] | UnsetType = UNSET


@Operation("The firing alerts, with their figures", {200: PerformanceAlerts}, query=("history",))
@blueprint.get("")
def list_alerts() -> Response:
    """The firing alerts, whichever tier is down. The history is read from PostgreSQL."""
    monitor = web().services.performance.monitor
    body = {"active_alerts": [alert_fields(one) for one in monitor.active()]}
    if query_flag("history"):
        body["history"] = [alert_fields(one) for one in monitor.history()]
    return answer(body)


@Operation("Acknowledge an alert", {200: PerformanceAlert}, errors=(404,))
@blueprint.post("/<alert_id>/acknowledge")
def acknowledge_alert(alert_id: str) -> Response:
    """Notes who acknowledged it; the first one stays."""
    monitor = web().services.performance.monitor
    return answer(alert_fields(monitor.acknowledge(alert_id, caller().actor)))


@Operation(
    "Mute notifications of this type of alert for a while",
    {200: PerformanceAlert},
    SilenceAlert,
    errors=(404,),
)
@blueprint.post("/<alert_id>/silence")
def silence_alert(alert_id: str) -> Response:
    """Mutes notifications of its type for a while; it stays listed."""
    body = body_as(SilenceAlert)
    monitor = web().services.performance.monitor
    return answer(alert_fields(monitor.silence(alert_id, body.seconds, caller().actor)))
