"""The routes of admins: all of them are under this blueprint, which refuses everyone else."""

from flask import Blueprint

from webapp.api.admin import (
    alerts,
    archive,
    audit,
    consistency,
    dead_letters,
    disaster,
    keys,
    receipts,
    recovery,
    retention,
    revocations,
    road,
    users,
)
from webapp.http.context import caller
from webapp.http.errors import BadRequest

blueprint = Blueprint("admin", __name__, url_prefix="/api/admin")
AREAS = (
    alerts,
    archive,
    audit,
    consistency,
    dead_letters,
    disaster,
    keys,
    receipts,
    recovery,
    retention,
    revocations,
    road,
    users,
)
for area in AREAS:
    blueprint.register_blueprint(area.blueprint)


@blueprint.before_request
def only_admins() -> None:
    """Refuses everyone else, before any of these routes is reached."""
    if not caller().is_admin:
        raise BadRequest(403, "forbidden", "this call is for admins")
