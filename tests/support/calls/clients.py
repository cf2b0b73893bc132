"""Clients of a stack that is being broken."""

from selftest.bed.stack import Testbed
from support.calls.api import Api
from support.data.users import fresh_user
from webapp.http.auth import Tokens

TOKEN_SECONDS = 3600


def api_of(bed: Testbed, user: str = "", *, is_admin: bool = False) -> Api:
    """The API as a user; as somebody new where none is named."""
    return Api(bed.url, token_of(bed, user or fresh_user(), is_admin=is_admin))


def token_of(bed: Testbed, user: str, *, is_admin: bool = False) -> str:
    """A token that is good for as long as any test."""
    return Tokens(bed.settings).issue(user, is_admin=is_admin, ttl_seconds=TOKEN_SECONDS)
