"""The routes of health, and the entry point of the API."""

from importlib.metadata import version

import msgspec
from flask import Blueprint, Response, request

from jobs.monitor.health import PersistenceHealth
from storage.availability.checks.safety import judge_redis
from storage.availability.progress import ProgressWatch
from storage.errors import TierError
from webapp.api.events import events_url
from webapp.http.context import web
from webapp.http.errors import problem
from webapp.http.operation import Operation
from webapp.http.requests import answer, wrong_parameter
from webapp.http.schemas import Liveness, ServiceInfo

blueprint = Blueprint("health", __name__)


@Operation("Whether the process answers", {200: Liveness}, public=True)
@blueprint.get("/healthz")
def healthz() -> Response:
    """200 while the process answers at all."""
    return answer(Liveness(status="ok"))


@Operation(
    "Whether the process can acknowledge",
    {200: Liveness},
    query=("program",),
    errors=(503,),
    public=True,
)
@blueprint.get("/readyz")
def readyz() -> Response:
    """200 while the process can acknowledge messages on servers that passed the safety checks.

    A stalled pending log is named among the problems, but a process that still acknowledges stays
    ready; for a worker's own probe (`program=worker`) it means 503.
    """
    services = web().services
    program = request.args.get("program")
    if program not in {None, "worker"}:
        raise wrong_parameter("program", "worker, or left out", ("worker",))
    if program == "worker":
        progress = services.progress.judge()
        if not progress.is_ok:
            return problem(503, "no_progress", progress.detail)
        return answer(Liveness(status="ready"))
    refusal = web().watch.reason or (
        judge_redis(services.tiers.redis_client) if services.tiers.breakers.redis.is_closed else ""
    )
    if refusal:
        return problem(503, "unsafe_settings", refusal)
    failures = []
    for tier in (services.tiers.redis, services.tiers.postgres, services.tiers.clickhouse):
        try:
            tier.ping()
        except TierError as error:
            failures.append(error.tier)
        else:
            return answer(Liveness(status="ready", problems=_problems(services.progress)))
    return problem(503, "storage_unavailable", f"{' and '.join(failures)} do not answer")


def _problems(watch: ProgressWatch) -> list[str] | msgspec.UnsetType:
    progress = watch.judge()
    return msgspec.UNSET if progress.is_ok else [f"no_progress: {progress.detail}"]


@Operation("The state of each tier", {200: PersistenceHealth})
@blueprint.get("/health/persistence")
def get_persistence_health() -> Response:
    """Each tier's state and lag, and what an acknowledgement means at present."""
    return answer(web().services.performance.health())


@Operation("The addresses of this installation", {200: ServiceInfo})
@blueprint.get("/api")
def get_service_info() -> Response:
    """The version, and the addresses of sockets, events and documentation."""
    ws_url = web().settings.ws_url
    return answer(
        ServiceInfo(
            version=version("threadkeep"),
            ws_url=ws_url,
            events_url=events_url(ws_url),
            docs_url="/docs",
        )
    )
