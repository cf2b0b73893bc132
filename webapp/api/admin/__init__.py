"""The routes of admins: every one of them is under this blueprint, which lets nobody else in."""

from flask import Blueprint

from webapp.api.admin import (
    alerts,
    archive,
    audit,
    consistency,
    dead_letters,
    disaster,
    recovery,
    retention,
    road,
    users,
)
from webapp.http.context import caller
from webapp.http.errors import BadRequest

blueprint = Blueprint("admin", __name__, url_prefix="/api/admin")
ROOMS = (
    alerts,
    archive,
    audit,
    consistency,
    dead_letters,
    disaster,
    recovery,
    retention,
    road,
    users,
)
for room in ROOMS:
    blueprint.register_blueprint(room.blueprint)


@blueprint.before_request
def only_admins() -> None:
    """Refuses everyone else, before any route of any room is reached."""
    if not caller().is_admin:
        raise BadRequest(403, "forbidden", "this call is for admins")
