"""The route of the archive: how far it is."""

from flask import Blueprint, Response

from storage.archive.progress import archive_progress
from storage.archive.tiering import rules_of
from webapp.context import web
from webapp.requests import answer

blueprint = Blueprint("archive", __name__)


@blueprint.get("/archive")
def get_archive() -> Response:
    """What has left PostgreSQL, and what is on its way."""
    services = web().services
    return answer(archive_progress(services.request_engine, rules_of(services.settings)))
