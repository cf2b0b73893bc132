"""API keys for tests, as an admin makes them."""

from typing import Any

from storage.identity.credentials import SCOPES
from support.calls.api import Api, ok

ALL_BUT_ADMIN = tuple(scope for scope in SCOPES if scope != "admin")


def made_key(admin_api: Api, *scopes: str, **fields: Any) -> dict[str, Any]:
    """A new key as it is shown once."""
    body = {"name": "of a test", "scopes": list(scopes), **fields}
    return ok(admin_api.post("/api/admin/keys", json=body), 201)


def with_key(admin_api: Api, *scopes: str, **fields: Any) -> Api:
    """A client that calls with a new key."""
    return Api(admin_api.url, made_key(admin_api, *scopes, **fields)["key"])


def on_behalf_of(client: Api, user_id: str) -> Api:
    """The same client, whose calls name a user."""
    client._session.headers["Threadkeep-User"] = user_id
    return client
