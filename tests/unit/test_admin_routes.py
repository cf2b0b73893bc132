"""Nobody but an admin gets past the door of `/api/admin`, whatever route is behind it."""

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.auth import Tokens

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
OWN = settings.load(COMPLETE)


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(OWN)


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    with app.test_client() as client:
        yield client


def bearer(*, is_admin: bool) -> dict[str, str]:
    token = Tokens(OWN).issue("somebody", is_admin=is_admin, ttl_seconds=60)
    return {"Authorization": f"Bearer {token}"}


def admin_routes(app: Flask) -> list[tuple[str, str]]:
    """Every method and path under `/api/admin`, with a number in the place of each name."""
    return [
        (method, re.sub(r"<[^>]+>", "1", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) & METHODS)
        if rule.rule.startswith("/api/admin")
    ]


def test_every_admin_route_refuses_who_is_no_admin(app: Flask, client: FlaskClient) -> None:
    routes = admin_routes(app)
    assert ("DELETE", "/api/admin/dead-letters/1") in routes
    for method, path in routes:
        reply = client.open(path, method=method, headers=bearer(is_admin=False))
        assert reply.status_code == 403, (method, path)
        if method != "HEAD":
            assert reply.get_json()["code"] == "forbidden"


def test_every_admin_route_asks_for_a_token_first(app: Flask, client: FlaskClient) -> None:
    for method, path in admin_routes(app):
        assert client.open(path, method=method).status_code == 401, (method, path)


def test_an_admin_gets_past_the_door(app: Flask, client: FlaskClient) -> None:
    # No server answers behind it, and so says the answer.
    reply = client.get("/api/admin/dead-letters", headers=bearer(is_admin=True))
    assert reply.status_code == 503
    reply = client.get("/api/admin/dead-letters?limit=0", headers=bearer(is_admin=True))
    assert reply.status_code == 422


@pytest.mark.parametrize("number", ["one", "-1", "1.0", "9" * 19, "9" * 5000, "\u0661"])
def test_what_is_no_number_is_no_letter(client: FlaskClient, number: str) -> None:
    path = f"/api/admin/dead-letters/{number}"
    assert client.get(path, headers=bearer(is_admin=True)).status_code == 404
    listed = client.get(
        "/api/admin/dead-letters", query_string={"cursor": number}, headers=bearer(is_admin=True)
    )
    assert listed.status_code == 422
