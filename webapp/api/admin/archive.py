"""The route of the archive: how far it is."""

from flask import Blueprint, Response

from jobs.archive.progress import ArchiveProgress, archive_progress
from jobs.archive.tiering import rules_of
from webapp.http.context import web
from webapp.http.operation import Operation
from webapp.http.requests import answer

blueprint = Blueprint("archive", __name__)


@Operation("How far the archive is", {200: ArchiveProgress})
@blueprint.get("/archive")
def get_archive() -> Response:
    """What has left PostgreSQL, and what is on its way."""
    services = web().services
    return answer(archive_progress(services.request_engine, rules_of(services.settings)))
