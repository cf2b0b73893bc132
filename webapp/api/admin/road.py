"""The routes of performance: the pipeline as it is now, and each tier's latencies."""

from flask import Blueprint, Response

from jobs.monitor.pipeline import PipelineStatus
from jobs.monitor.tier_performance import StoragePerformance
from webapp.http.context import web
from webapp.http.operation import Operation
from webapp.http.requests import answer

blueprint = Blueprint("road", __name__)


@Operation("The pipeline of a message: tiers, stages, ten minutes", {200: PipelineStatus})
@blueprint.get("/road")
def get_road() -> Response:
    """Tiers, the stages between them and the last ten minutes, whichever tier is down."""
    return answer(web().services.performance.road())


@Operation("How fast each tier answered in the last minute", {200: StoragePerformance})
@blueprint.get("/storage-performance")
def get_storage_performance() -> Response:
    """Each tier's latencies, slow statements and rates of the last minute."""
    return answer(web().services.performance.get_storage_performance_metrics())
