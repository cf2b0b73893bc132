"""The calls of alerts, of figures and of drills that make tiers slow, for the API's description."""

from jobs.monitor.pipeline import PipelineStatus
from jobs.monitor.tier_performance import StoragePerformance
from webapp.api.admin.alerts import PerformanceAlert, PerformanceAlerts, SilenceAlert
from webapp.api.admin.disaster import DegradationBegun, SimulateDegradation
from webapp.http.operation import Operation

_ALERTS = "/api/admin/performance-alerts"
_ALERT = _ALERTS + "/{alert_id}"

PERFORMANCE_OPERATIONS = (
    Operation(
        "get", _ALERTS, "list_alerts", "What is not as it should be, with figures",
        {200: PerformanceAlerts}, query=("history",), errors=(403, 422),
    ),
    Operation(
        "post", _ALERT + "/acknowledge", "acknowledge_alert", "Say that you have seen an alert",
        {200: PerformanceAlert}, errors=(403, 404),
    ),
    Operation(
        "post", _ALERT + "/silence", "silence_alert",
        "Have nobody told of alerts of this kind for a while",
        {200: PerformanceAlert}, SilenceAlert, errors=(403, 404, 422),
    ),
    Operation(
        "get", "/api/admin/road", "get_road", "The road of a message: tiers, arrows, ten minutes",
        {200: PipelineStatus}, errors=(403,),
    ),
    Operation(
        "get", "/api/admin/storage-performance", "get_storage_performance",
        "How fast each tier answered in the last minute", {200: StoragePerformance},
        errors=(403,),
    ),
    Operation(
        "post", "/api/admin/simulate-performance-degradation", "simulate_degradation",
        "Have a tier answer slowly for a while, where drills are allowed",
        {200: DegradationBegun}, SimulateDegradation, errors=(403, 404, 422),
    ),
)  # fmt: skip
