"""What is said of a body that cannot be read, and of a path that is not there."""

import gzip
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.auth import Tokens

OWN = settings.load(COMPLETE)
PATH = "/api/threads/t/messages"
JSON = b'{"message": "x"}'
TOKEN = Tokens(OWN).issue("somebody", is_admin=True, ttl_seconds=600)


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    with create_app(OWN).test_client() as client:
        yield client


def told(client: FlaskClient, body: bytes, **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(PATH, data=body, headers={"Authorization": f"Bearer {TOKEN}", **named})


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "GZIP", "gzip, identity", "x" * 3_000])
def test_a_compressed_body_is_refused_as_what_it_is(client: FlaskClient, coding: str) -> None:
    reply = told(client, gzip.compress(JSON), Content_Encoding=coding)
    assert reply.status_code == 415
    assert reply.headers["Accept-Encoding"] == "identity"
    assert reply.get_json()["code"] == "unsupported_content_encoding"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/messages:batch"),
        ("POST", "/api/threads/t/messages:stream"),
        ("PUT", "/api/session"),
        ("POST", "/api/admin/check-consistency"),
    ],
)
def test_no_call_takes_one(client: FlaskClient, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "gzip"}
    reply = client.open(path, method=method, headers=headers, data=gzip.compress(b"{}"))
    assert reply.status_code == 415


def test_a_body_as_it_is_may_be_called_that(client: FlaskClient) -> None:
    # No server answers behind the door.
    assert told(client, JSON, Content_Encoding="identity").status_code == 503


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "a JSON body is expected"),
        (gzip.compress(JSON, mtime=0), "compressed"),
        (b"\xef\xbb\xbf" + JSON, "byte order mark"),
        (JSON.decode().encode("utf-16"), "byte order mark"),
        (JSON.decode().encode("utf-16-le"), "UTF-8"),
        (JSON.decode().encode("utf-32-be"), "UTF-8"),
        (b"message=x", "not JSON"),
        (b"<message>", "not JSON"),
    ],
)
def test_the_reason_is_the_one_that_holds(client: FlaskClient, body: bytes, reason: str) -> None:
    reply = told(client, body)
    assert (reply.status_code, reply.get_json()["code"]) == (400, "malformed_json")
    assert reason in reply.get_json()["detail"]


@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "multipart/form-data", "text/xml"]
)
def test_a_form_is_told_that_json_is_expected(client: FlaskClient, media_type: str) -> None:
    reply = told(client, b"message=hello", Content_Type=media_type)
    assert (reply.status_code, reply.get_json()["code"]) == (400, "malformed_json")
    assert f"expected JSON; you sent {media_type}" in reply.get_json()["detail"]


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "text/plain", "x/y"])
def test_json_is_json_whatever_it_is_called(client: FlaskClient, media_type: str) -> None:
    # No server answers behind the door.
    assert told(client, JSON, Content_Type=media_type).status_code == 503


def test_a_problem_names_the_field(client: FlaskClient) -> None:
    reply = told(client, b'{"message": "x", "role": "bot"}')
    (error,) = reply.get_json()["errors"]
    assert (error["field"], error["given"]) == ("$.role", "bot")


def test_a_problem_names_the_parameter(client: FlaskClient) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    wrong = client.get(f"{PATH}?limit=ten", headers=headers).get_json()
    assert wrong["code"] == "invalid_limit"
    assert (wrong["errors"][0]["field"], wrong["errors"][0]["given"]) == ("?limit", "ten")
    unknown = client.get(f"{PATH}?limt=10", headers=headers).get_json()
    assert unknown["code"] == "unknown_parameter"
    assert "did you mean limit" in unknown["detail"]
    assert unknown["errors"][0]["allowed"] == ["limit", "cursor", "order"]


@pytest.mark.parametrize("body", [rb'{"message": "\ud800"}', b'{"message": "\xed\xa0\x80"}'])
def test_a_lone_surrogate_is_no_malformed_json(client: FlaskClient, body: bytes) -> None:
    reply = told(client, body)
    assert (reply.status_code, reply.get_json()["code"]) == (422, "text_unkeepable")


@pytest.mark.parametrize("path", ["/api/threads/", "/api/threads/t/messages/", "/healthz/"])
def test_a_slash_too_many_is_named(client: FlaskClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 404
    assert "slash" in reply.get_json()["detail"]


@pytest.mark.parametrize("path", ["/api/nothing/", "/nothing", "/api//threads"])
def test_where_nothing_is_without_it_it_is_not(client: FlaskClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 404
    assert "slash" not in reply.get_json()["detail"]
