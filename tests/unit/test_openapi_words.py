"""The API's description in words: whatever it names it describes, and its examples are true."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
from flask import Flask

import settings
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.operation import operations
from webapp.openapi import document as openapi
from webapp.openapi.examples import examples
from webapp.openapi.shapes import words


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(settings.load(COMPLETE))


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    return openapi.document(app)


def calls(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def members(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every member of every shape."""
    for shape, schema in document["components"]["schemas"].items():
        for member, described in schema.get("properties", {}).items():
            yield shape, member, described


def content_of(described: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a request or an answer, empty where there is none."""
    content: dict[str, Any] = described.get("content", {}).get("application/json", {})
    return content


def first_answer(call: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = call["responses"]
    return next(iter(answers.values()))


def check(document: dict[str, Any], value: Any, schema: dict[str, Any]) -> None:
    """Raises where a value is not as a schema of the document has it."""
    whole = {**schema, "components": document["components"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(whole, format_checker=checker).validate(value)


def test_it_is_openapi(document: dict[str, Any]) -> None:
    openapi_spec_validator.validate(document)


def test_every_operation_and_parameter_is_described(document: dict[str, Any]) -> None:
    silent = []
    for call in calls(document):
        name = call["operationId"]
        silent += [name] if not call["summary"] or not call["description"] else []
        silent += [(name, one["name"]) for one in call["parameters"] if not one["description"]]
        body = call.get("requestBody", {"description": "none"})
        silent += [] if body["description"] else [(name, "body")]
    assert silent == []


def test_every_shape_and_member_is_described(document: dict[str, Any]) -> None:
    shapes = document["components"]["schemas"]
    assert [name for name, schema in shapes.items() if not schema.get("description")] == []
    silent = [(shape, name) for shape, name, one in members(document) if not one.get("description")]
    assert silent == []


def test_every_tag_and_answer_is_described(document: dict[str, Any]) -> None:
    assert [tag["name"] for tag in document["tags"] if not tag["description"]] == []
    components = document["components"]
    for described in (components["responses"], components["headers"]):
        assert [name for name, one in described.items() if not one["description"]] == []


def test_no_text_has_the_indentation_of_its_source(document: dict[str, Any]) -> None:
    texts = [schema["description"] for schema in document["components"]["schemas"].values()]
    texts += [one.get("description", "") for _, _, one in members(document)]
    texts += [call["description"] for call in calls(document)]
    assert [text for text in texts if text != text.strip() or "\n  " in text] == []


def test_nothing_is_described_that_is_not_there(document: dict[str, Any]) -> None:
    """A member that was taken away takes its description along."""
    present = {name for _, name, _ in members(document)}
    assert set(words().pop("any")) <= present
    shapes = document["components"]["schemas"]
    # What only other shapes are derived from is not among them.
    base = {"MessageText"}
    for shape, described in words().items():
        if shape not in {"any", *base}:
            assert set(described) <= set(shapes[shape]["properties"]), shape


def test_times_and_ids_have_a_format(document: dict[str, Any]) -> None:
    for shape, name, described in members(document):
        kinds = [described, *described.get("anyOf", ())]
        texts = [kind for kind in kinds if kind.get("type") == "string"]
        if texts and (name.endswith("_at") or name == "message_id"):
            assert texts[0]["format"] in {"date-time", "uuid"}, (shape, name)


def test_every_operation_has_an_example(document: dict[str, Any]) -> None:
    without = []
    for call in calls(document):
        for part in (call.get("requestBody", {}), first_answer(call)):
            content = content_of(part)
            if content and "example" not in content:
                without.append(call["operationId"])
    assert without == []


def test_every_example_is_of_an_operation(app: Flask) -> None:
    assert set(examples()) <= {operation.name for operation in operations(app).values()}


def test_every_example_is_as_its_schema_has_it(document: dict[str, Any]) -> None:
    checked = 0
    for call in calls(document):
        for part in (call.get("requestBody", {}), first_answer(call)):
            content = content_of(part)
            if "example" in content:
                check(document, content["example"], content["schema"])
                checked += 1
        for parameter in call["parameters"]:
            if "example" in parameter:
                check(document, parameter["example"], parameter["schema"])
                checked += 1
    assert checked > 80


def test_a_member_may_be_left_out_of_a_request_and_is_there_in_an_answer(
    document: dict[str, Any],
) -> None:
    """Generators take a member with a default as always there."""
    shapes = document["components"]["schemas"]
    assert [name for shape, name, one in members(document) if "default" in one] == []
    assert "required" not in shapes["PostMessage"]
    assert "deleted_at" in shapes["Message"]["required"]
    assert "current_version" not in shapes["Problem"]["required"]


def test_what_generators_do_not_know_is_not_used(document: dict[str, Any]) -> None:
    waiting: list[Any] = [document["components"]["schemas"]]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            assert "prefixItems" not in one
            assert one.get("items") is not False
            assert one.get("type") != "array" or "items" in one
            if one.get("type") == "object":
                assert "properties" in one or "additionalProperties" in one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


@pytest.mark.parametrize("body", [{}, {"message": "a", "content": "a"}, {"role": "user"}])
def test_a_post_has_one_text(document: dict[str, Any], body: dict[str, str]) -> None:
    post = {"$ref": "#/components/schemas/PostMessage"}
    check(document, {"message": "a"}, post)
    check(document, {"content": "a"}, post)
    with pytest.raises(jsonschema.ValidationError):
        check(document, body, post)


def test_answers_have_their_headers(document: dict[str, Any]) -> None:
    paths = document["paths"]
    post = paths["/api/threads/{thread_id}/messages"]["post"]["responses"]
    limits = {"RateLimit", "RateLimit-Policy"}
    wanted = {"X-Request-ID", "ETag", "Idempotency-Replayed", *limits}
    assert set(post["200"]["headers"]) == wanted
    read = paths["/api/messages/{message_id}"]["get"]["responses"]
    assert "ETag" in read["200"]["headers"]
    assert "ETag" in read["304"]["headers"]
    assert "Location" in paths["/api/ws"]["get"]["responses"]["307"]["headers"]
    problems = document["components"]["responses"]
    assert "Retry-After" in problems["Unavailable"]["headers"]
    assert "WWW-Authenticate" in problems["Unauthorized"]["headers"]
