"""The route of the audit trail."""

from collections.abc import Sequence

import msgspec
from flask import Blueprint, Response, request

from jobs.audit import AuditEntry
from models.message import check_text
from webapp.http.context import web
from webapp.http.operation import PAGE, Operation
from webapp.http.requests import answer_page, query_id_cursor, query_limit, query_time

blueprint = Blueprint("audit", __name__, url_prefix="/audit")


class AuditPage(msgspec.Struct, kw_only=True, frozen=True):
    """Entries, newest first; `next_cursor` is null at the end."""

    entries: Sequence[AuditEntry]
    next_cursor: str | None


@Operation(
    "Who did what, newest first", {200: AuditPage}, query=(*PAGE, "since", "actor", "action")
)
@blueprint.get("")
def list_audit() -> Response:
    """A page of the audit trail: what admins, operators and programs did, to what."""
    limit = query_limit()
    found = web().services.jobs.audit.entries(
        since=query_time("since"),
        actor=_text("actor"),
        action=_text("action"),
        cursor=query_id_cursor(),
        limit=limit + 1,
    )
    shown = found[:limit]
    next_cursor = shown[-1].id if len(found) > limit else None
    return answer_page(AuditPage(entries=shown, next_cursor=next_cursor))


def _text(name: str) -> str | None:
    given = request.args.get(name) or None
    if given is not None:
        check_text(given, name)
    return given
