"""The API's description: it names every route, and every reference in it leads somewhere."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

import settings
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.operation import operations
from webapp.http.requests import PUBLIC
from webapp.openapi import document as openapi

# The description and the pages do not describe themselves, and Prometheus needs no description.
UNDESCRIBED = {
    *("docs.openapi_json", "docs.page", "docs.asset", "error_page.errors", "metrics.metrics"),
    *(f"console.{name}" for name in ("chat", "operations", "asset")),
}
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(settings.load(COMPLETE))


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    return openapi.document(app)


def routes(app: Flask) -> dict[tuple[str, str], str]:
    """(method, path) to endpoint, of every rule that is described."""
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) & METHODS
        if rule.endpoint not in UNDESCRIBED
    }


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_route_is_described_and_nothing_else(app: Flask) -> None:
    described = {
        (operation.method.upper(), operation.path) for operation in operations(app).values()
    }
    assert described == set(routes(app))


def test_an_operation_has_the_name_of_its_route(app: Flask) -> None:
    endpoints = routes(app)
    for operation in operations(app).values():
        endpoint = endpoints[operation.method.upper(), operation.path]
        assert endpoint.split(".")[-1] == operation.name


def test_every_operation_has_its_place_in_the_description(app: Flask) -> None:
    assert sorted(openapi.ORDER) == sorted(one.name for one in operations(app).values())


def test_what_is_public_is_described_as_public(app: Flask) -> None:
    endpoints = routes(app)
    public = {endpoints[op.method.upper(), op.path] for op in operations(app).values() if op.public}
    assert public == PUBLIC - UNDESCRIBED


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


def test_every_operation_is_complete(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= set(document["info"])
    names = []
    for path, calls in document["paths"].items():
        for operation in calls.values():
            names.append(operation["operationId"])
            assert operation["responses"]
            in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", path))
    assert len(set(names)) == len(names)


def test_every_answer_has_a_description(document: dict[str, Any]) -> None:
    for calls in document["paths"].values():
        for operation in calls.values():
            for status, answer in operation["responses"].items():
                assert re.fullmatch(r"[1-5]\d\d", status)
                assert set(answer) == {"$ref"} or answer["description"]


def test_every_call_but_the_public_ones_may_answer_401(document: dict[str, Any]) -> None:
    assert document["security"] == [{"bearer": []}]
    for calls in document["paths"].values():
        for operation in calls.values():
            assert ("401" in operation["responses"]) == ("security" not in operation)


def test_every_call_stands_under_a_heading_and_every_heading_has_calls(
    document: dict[str, Any],
) -> None:
    used = {call["tags"][0] for path in document["paths"].values() for call in path.values()}
    assert used == {tag["name"] for tag in document["tags"]}
    assert document["paths"]["/api/threads/{thread_id}/messages"]["post"]["tags"] == ["Messages"]
    assert document["paths"]["/api/threads/{thread_id}"]["get"]["tags"] == ["Threads"]
