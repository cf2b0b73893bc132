"""The route of the audit trail."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from flask import Blueprint, Response, request

from models import ids
from models.message import check_text
from storage.audit import AuditEntry
from webapp.context import web
from webapp.errors import BadRequest
from webapp.requests import answer, query_limit

blueprint = Blueprint("audit", __name__, url_prefix="/audit")


class AuditPage(msgspec.Struct, kw_only=True, frozen=True):
    """Entries, newest first; `next_cursor` is null at the end."""

    entries: Sequence[AuditEntry]
    next_cursor: str | None


@blueprint.get("")
def list_audit() -> Response:
    """Who did what, newest first."""
    limit = query_limit()
    found = web().services.audit.entries(
        since=_since(),
        actor=_text("actor"),
        action=_text("action"),
        cursor=_cursor(),
        limit=limit + 1,
    )
    shown = found[:limit]
    next_cursor = shown[-1].id if len(found) > limit else None
    return answer(AuditPage(entries=shown, next_cursor=next_cursor))


def _since() -> str | None:
    given = request.args.get("since") or None
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
        if moment.tzinfo is None:
            raise ValueError
        return moment.isoformat()
    except ValueError:
        detail = "since must be a time as in RFC 3339, with its zone"
        raise BadRequest(422, "invalid_since", detail) from None


def _text(name: str) -> str | None:
    given = request.args.get(name) or None
    if given is not None:
        check_text(given, name)
    return given


def _cursor() -> str | None:
    cursor = request.args.get("cursor") or None
    if cursor is not None and not ids.is_id(cursor):
        raise BadRequest(422, "invalid_cursor", "cursor must be a next_cursor of this list")
    return cursor
