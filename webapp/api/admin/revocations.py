"""The routes of revoked tokens."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from flask import Blueprint, Response
from msgspec import Meta

from storage.identity.credentials import Revocation
from webapp.api.admin.keys import time_of
from webapp.http.body.reading import body_as
from webapp.http.context import caller, web
from webapp.http.errors import BadRequest
from webapp.http.operation import PAGE, Operation
from webapp.http.requests import answer, answer_page, query_id_cursor, query_limit
from webapp.http.schemas import RequestBody

blueprint = Blueprint("revocations", __name__, url_prefix="/revocations")


class RevokeTokens(RequestBody, kw_only=True, frozen=True):
    """Which tokens to refuse: the one with a `jti`, or all of a user."""

    token_id: Annotated[str | None, Meta(description="The token's `jti`.")] = None
    until: Annotated[
        str | None, Meta(description="When that token has expired anyway (RFC 3339).")
    ] = None
    user_id: Annotated[str | None, Meta(description="The user, in the place of a token.")] = None
    before: Annotated[
        str | None,
        Meta(description="Tokens issued before this are refused (RFC 3339); now if left out."),
    ] = None


class RevocationPage(msgspec.Struct, kw_only=True, frozen=True):
    """Revocations, newest first; `next_cursor` is null at the end."""

    revocations: Sequence[Revocation]
    next_cursor: str | None


@Operation("Revoke a token, or all of a user's", {201: Revocation}, RevokeTokens)
@blueprint.post("")
def revoke_tokens() -> Response:
    """Every process refuses them within seconds; open sockets and event streams of theirs end."""
    body = body_as(RevokeTokens)
    service, by = web().services.jobs.credentials, caller().actor
    if body.token_id is not None and body.user_id is None and body.before is None:
        until = time_of("until", body.until)
        return answer(service.revoke_token(body.token_id, until=until, by=by), 201)
    if body.user_id is not None and body.token_id is None and body.until is None:
        before = time_of("before", body.before)
        return answer(service.revoke_user(body.user_id, before=before, by=by), 201)
    detail = "give token_id, with until or without, or user_id, with before or without"
    raise BadRequest(422, "invalid_body", detail)


@Operation("Revoked tokens, newest first", {200: RevocationPage}, query=PAGE)
@blueprint.get("")
def list_revocations() -> Response:
    """What was revoked."""
    shown, following = web().services.jobs.credentials.list_revocations(
        limit=query_limit(), cursor=query_id_cursor()
    )
    return answer_page(RevocationPage(revocations=shown, next_cursor=following))


@Operation("Take a revocation back", {200: Revocation}, errors=(404,))
@blueprint.delete("/<revocation_id>")
def lift_revocation(revocation_id: str) -> Response:
    """The tokens that have not expired are good again."""
    service = web().services.jobs.credentials
    return answer(service.lift(revocation_id, by=caller().actor))
