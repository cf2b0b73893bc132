"""Clients of a stack that is being broken."""

from selftest.stack import Testbed
from support.api import Api
from support.users import fresh_user
from webapp.auth import Tokens

TOKEN_SECONDS = 3600


def api_of(bed: Testbed, user: str = "", *, is_admin: bool = False) -> Api:
    """The API as a user; as somebody new where none is named."""
    tokens = Tokens(bed.settings)
    token = tokens.issue(user or fresh_user(), is_admin=is_admin, ttl_seconds=TOKEN_SECONDS)
    return Api(bed.url, token)
