"""The route of the archive's progress."""

from flask import Blueprint, Response

from jobs.archive.progress import ArchiveProgress, archive_progress
from jobs.archive.tiering import rules_of
from webapp.http.context import web
from webapp.http.operation import Operation
from webapp.http.requests import answer

blueprint = Blueprint("archive", __name__)


@Operation("The progress of the archive", {200: ArchiveProgress})
@blueprint.get("/archive")
def get_archive() -> Response:
    """Which partitions have left PostgreSQL, and which are being archived."""
    services = web().services
    return answer(archive_progress(services.tiers.operator_engine, rules_of(services.settings)))
