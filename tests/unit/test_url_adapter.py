"""A route is found by its path and method alone, as the framework finds it."""

from typing import Any

import pytest
from flask import Flask, Request
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder

import settings
from support.stack.environment import COMPLETE
from webapp.app import create_app

APP = create_app(settings.load(COMPLETE))
PATHS = (
    "", "/", "//", "*", "/healthz", "/healthz/", "//healthz", "/api/threads", "/api//threads",
    "/api/none", "/api/threads/a%2Fb/messages", "/api/threads/ä/messages", "/\udcff",
    "/api/messages:batch", "/api/ws",
)  # fmt: skip


def found(adapter: Any) -> Any:
    try:
        return adapter.match()
    except HTTPException as error:
        return type(error), getattr(error, "valid_methods", None)


@pytest.mark.parametrize("extra", [{}, {"Connection": "upgrade", "Upgrade": "websocket"}])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_found_as_the_framework_finds_it(
    path: str, method: str, extra: dict[str, str]
) -> None:
    for host in ("localhost:8000", "a.example", "b\0d"):
        headers = {"Host": host, **extra}
        environ = EnvironBuilder(method=method, headers=headers).get_environ()
        request = Request(
            environ | {"PATH_INFO": path.encode("utf-8", "surrogateescape").decode("latin-1")}
        )
        usual = Flask.create_url_adapter(APP, request)
        assert found(APP.create_url_adapter(request)) == found(usual)


def test_no_route_redirects_or_depends_on_a_host() -> None:
    rules = list(APP.url_map.iter_rules())
    assert [rule.rule for rule in rules if rule.rule.endswith("/")] == ["/"]
    assert not any(rule.redirect_to or rule.host or rule.subdomain for rule in rules)
    assert not APP.url_map.host_matching
