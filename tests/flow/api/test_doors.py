"""Authentication: every route needs a token, except the public ones."""

import time

import jwt
import pytest
from flask import Flask

from settings import Settings
from support.calls.api import Api, ok, problem
from webapp.app import create_app
from webapp.http.requests import PUBLIC

PUBLIC_PATHS = {
    *("/healthz", "/readyz", "/openapi.json", "/docs", "/docs/assets/swagger-ui.css"),
    *("/docs/errors", "/", "/operations", "/console/base.css"),
}
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}


@pytest.fixture(scope="module")
def app(settings: Settings) -> Flask:
    return create_app(settings)


def guarded(app: Flask) -> list[tuple[str, str]]:
    """Every method and path that is not public, with something in the place of each name."""
    return [
        (method, rule.rule.replace("<", "x").replace(">", "x"))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) & METHODS)
        if rule.endpoint not in PUBLIC
    ]


@pytest.mark.parametrize("path", sorted(PUBLIC_PATHS))
def test_what_is_public_answers_without_a_token(anonymous_api: Api, path: str) -> None:
    assert anonymous_api.get(path).status_code == 200


def test_only_what_the_contract_names_is_public(app: Flask) -> None:
    # `/metrics` checks tokens by itself, as its own tests show.
    public_endpoints = PUBLIC - {"metrics.metrics"}
    public = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint in public_endpoints}
    files = {"/docs/assets/swagger-ui.css", "/console/base.css"}
    named = {"/docs/assets/<name>", "/console/<path:name>"}
    assert public == (PUBLIC_PATHS - files) | named


def test_everything_else_answers_401_without_a_token(app: Flask, anonymous_api: Api) -> None:
    paths = guarded(app)
    assert len(paths) > 20
    for method, path in paths:
        reply = anonymous_api.call(method, path, json={})
        assert reply.status_code == 401, (method, path, reply.text)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer x", "Basic dXNlcjpwYXNzd29yZA==", "x", "Bearer a.b.c"],
)
def test_a_wrong_header_is_refused(anonymous_api: Api, header: str) -> None:
    reply = anonymous_api.get("/api/threads", headers={"Authorization": header})
    problem(reply, 401, "invalid_token")


def test_an_expired_token_is_refused(anonymous_api: Api, settings: Settings) -> None:
    claims = {"sub": "alice", "exp": int(time.time()) - 60}
    token = jwt.encode(claims, settings.jwt_secret, algorithm="HS256")
    reply = anonymous_api.get("/api/threads", headers={"Authorization": f"Bearer {token}"})
    assert "expired" in problem(reply, 401, "invalid_token")["detail"]


def test_a_token_in_the_address_is_no_token(anonymous_api: Api, api: Api, user_token: str) -> None:
    ok(api.get("/api/threads"))
    for name in ("token", "access_token", "authorization"):
        reply = anonymous_api.get("/api/threads", params={name: user_token})
        problem(reply, 401, "invalid_token")


def test_the_scheme_is_read_in_any_case(anonymous_api: Api, user_token: str) -> None:
    ok(anonymous_api.get("/api/threads", headers={"Authorization": f"bEARER  {user_token} "}))


def test_health_says_what_an_acknowledgement_means(api: Api) -> None:
    health = ok(api.get("/health/persistence"))
    assert health["status"] == "ok"
    assert set(health["tiers"]) == {"redis", "postgresql", "clickhouse"}
    assert health["tiers"]["redis"]["durability"] == "fsynced"
    assert all(tier["available"] for tier in health["tiers"].values())


def test_the_docs_bring_everything_with_them(anonymous_api: Api) -> None:
    page = anonymous_api.get("/docs")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert ok(anonymous_api.get("/openapi.json"))["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    "name", ["..%2f..%2fauth.py", "../../../auth.py", "%2e%2e/auth.py", "nope"]
)
def test_the_docs_hand_out_nothing_else(anonymous_api: Api, name: str) -> None:
    assert anonymous_api.get(f"/docs/assets/{name}").status_code == 404
