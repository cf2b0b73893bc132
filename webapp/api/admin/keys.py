"""The routes of API keys."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from flask import Blueprint, Response
from msgspec import Meta

from models import ids
from storage.identity.credentials import ApiKey
from webapp.http.body.reading import body_as
from webapp.http.context import caller, web
from webapp.http.errors import BadRequest
from webapp.http.operation import PAGE, Operation
from webapp.http.requests import answer, answer_page, query_id_cursor, query_limit
from webapp.http.schemas import RequestBody

blueprint = Blueprint("keys", __name__, url_prefix="/keys")


class CreateKey(RequestBody, kw_only=True, frozen=True):
    """A new API key. Without `user_id` it acts as a user of its own, `key:` and its id."""

    name: Annotated[str, Meta(description="What people recognise it by, 1 to 100 characters.")]
    scopes: Annotated[
        list[str],
        Meta(
            description="What it may do: messages:read, messages:write, threads:read,"
            " threads:write, states:read, states:write, on_behalf_of, admin."
        ),
    ]
    user_id: Annotated[str | None, Meta(description="The user as which it acts.")] = None
    expires_at: Annotated[
        str | None, Meta(description="When it ends (RFC 3339); null for never.")
    ] = None


class CreatedKey(ApiKey, kw_only=True, frozen=True):
    """A new API key. `key` is the secret itself, which is shown this once."""

    key: str


class KeyPage(msgspec.Struct, kw_only=True, frozen=True):
    """API keys, newest first; `next_cursor` is null at the end."""

    keys: Sequence[ApiKey]
    next_cursor: str | None


@Operation("Create an API key", {201: CreatedKey}, CreateKey)
@blueprint.post("")
def create_key() -> Response:
    """Creates a key; the answer alone has its secret."""
    body = body_as(CreateKey)
    made = web().services.jobs.credentials.create_key(
        body.name,
        body.scopes,
        user_id=body.user_id,
        expires_at=time_of("expires_at", body.expires_at),
        by=caller().actor,
    )
    return answer(CreatedKey(**msgspec.structs.asdict(made.key), key=made.secret), 201)


@Operation("API keys, newest first", {200: KeyPage}, query=PAGE)
@blueprint.get("")
def list_keys() -> Response:
    """Keys without their secrets; revoked ones too."""
    shown, following = web().services.jobs.credentials.list_keys(
        limit=query_limit(), cursor=query_id_cursor()
    )
    return answer_page(KeyPage(keys=shown, next_cursor=following))


@Operation("Revoke an API key", {200: ApiKey}, errors=(404,))
@blueprint.delete("/<key_id>")
def revoke_key(key_id: str) -> Response:
    """Revokes it for good; every process refuses it within seconds."""
    return answer(web().services.jobs.credentials.revoke_key(key_id, by=caller().actor))


def time_of(name: str, given: str | None) -> str | None:
    """A time of a body as RFC 3339 in UTC, None where there is none. Raises `BadRequest`."""
    try:
        return None if given is None else ids.in_utc(given)
    except ValueError:
        detail = f"{name} must be a time as in RFC 3339, with its zone"
        raise BadRequest(422, f"invalid_{name}", detail) from None
