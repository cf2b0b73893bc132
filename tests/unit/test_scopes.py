"""Every route has its scope, and every scope has a route."""

import pytest
from flask import Flask

import settings
from storage.identity.credentials import ADMIN, ON_BEHALF_OF, SCOPES
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.requests import METHODS, PUBLIC
from webapp.http.scopes import ANY, check_route, scope_of
from webapp.identity.caller import Caller, NotAllowed
from webapp.realtime.app import create_realtime_app

OWN = settings.load(COMPLETE)
FOR_ANY_KEY = {
    "console.get_console_facts",
    "health.get_service_info",
    "health.get_persistence_health",
    "tickets.create_ticket",
}


def routes(app: Flask) -> set[tuple[str, str]]:
    """Every method and endpoint that asks who is calling."""
    return {
        (rule.endpoint, method)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) & METHODS
        if rule.endpoint not in PUBLIC
    }


@pytest.fixture(scope="module")
def asking() -> set[tuple[str, str]]:
    return routes(create_app(OWN))


def test_every_route_has_a_scope(asking: set[tuple[str, str]]) -> None:
    found = {route: scope_of(*route) for route in asking}
    assert {endpoint for (endpoint, _), scope in found.items() if scope == ANY} == FOR_ANY_KEY
    assert set(found.values()) == {*SCOPES, ANY} - {ON_BEHALF_OF}
    for (endpoint, method), scope in found.items():
        assert scope is not None
        if endpoint.startswith("admin."):
            assert scope == ADMIN
        elif scope != ANY:
            assert scope.endswith(":read" if method == "GET" else ":write"), endpoint


def test_the_routes_of_the_sockets_have_one_too() -> None:
    assert all(scope_of(*route) is not None for route in routes(create_realtime_app(OWN)))


def test_a_key_needs_the_scope_of_the_route_and_no_other(asking: set[tuple[str, str]]) -> None:
    for route in asking:
        wanted = scope_of(*route)
        check_route(Caller("user", False, None), *route)
        check_route(Caller("user", False, frozenset(SCOPES)), *route)
        check_route(Caller("user", False, frozenset({wanted or ""})), *route)
        if wanted != ANY:
            others = frozenset(SCOPES) - {wanted}
            with pytest.raises(NotAllowed) as caught:
                check_route(Caller("user", False, others), *route)
            assert (caught.value.code, wanted in str(caught.value)) == ("insufficient_scope", True)


def test_a_route_that_nobody_thought_of_is_not_for_keys() -> None:
    with pytest.raises(NotAllowed):
        check_route(Caller("user", True, frozenset(SCOPES)), "novelty.make", "POST")
