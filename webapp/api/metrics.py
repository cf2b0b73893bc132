"""The route that Prometheus scrapes."""

import secrets

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from jobs.monitor.exposition import exposition
from webapp.http.context import web
from webapp.http.errors import BadRequest
from webapp.http.requests import bearer

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """The counters of this machine's processes, and the state of the tiers."""
    _let_in()
    settings, services = web().settings, web().services
    folder = settings.metrics_folder if settings.metrics else ""
    text = exposition(services.tiers.instruments, folder, services.performance.figures())
    return Response(text, content_type=CONTENT_TYPE_LATEST)


def _let_in() -> None:
    """Refuses callers who may not see it. Raises `InvalidToken` and `BadRequest`."""
    settings = web().settings
    if settings.metrics_open:
        return
    token = bearer()
    own = settings.metrics_token
    if own and secrets.compare_digest(token.encode(), own.encode()):
        return
    if not web().tokens.verify_until(token)[0].is_admin:
        raise BadRequest(403, "forbidden", "this call is for admins")
