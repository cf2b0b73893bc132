"""Errors: a problem body (RFC 9457) with a stable code, never a page, never a trace."""

import re
import secrets
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

import settings
from models import ids
from support.calls.api import Api, ok, problem
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.operation import KEY, Operation, operations

MESSAGES = "/api/threads/t/messages"
FAR_AHEAD = ids.mint(ids.MAX_MICROSECONDS, 0)

UNPROCESSABLE: list[tuple[str, Any]] = [
    ("content_empty", {"message": ""}),
    ("content_too_long", {"message": "x" * 65_537}),
    ("content_too_long", {"message": "\u00e9" * 32_769}),
    ("text_unkeepable", {"message": "a\0b"}),
    ("text_unkeepable", {"message": "x", "metadata": {"a": "\0"}}),
    ("text_unkeepable", {"message": "x", "metadata": {"\0": 1}}),
    ("metadata_too_large", {"message": "x", "metadata": {"a": "x" * 16_384}}),
    ("invalid_body", {"message": "x", "role": "robot"}),
    ("invalid_body", {"message": "x", "unknown": 1}),
    ("invalid_body", {"message": "x", "metadata": []}),
    ("invalid_body", {"message": "x", "durability": "eventual"}),
    ("invalid_body", {"message": 1}),
    ("content_empty", {"message": None}),
    ("content_empty", {"message": None, "metadata": {}}),
    ("invalid_body", {}),
    ("invalid_body", []),
]


@pytest.mark.parametrize(("code", "body"), UNPROCESSABLE)
def test_what_cannot_be_kept_is_refused_at_the_door(api: Api, code: str, body: Any) -> None:
    problem(api.post(MESSAGES, json=body), 422, code)
    problem(api.get(MESSAGES), 404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        rb'{"message": "\ud800"}',
        rb'{"message": "a\udfffb"}',
        rb'{"message": "x", "metadata": {"a": "\ud83d"}}',
        rb'{"message": "x", "metadata": {"\udc00": 1}}',
    ],
)
def test_a_lone_surrogate_is_refused_as_what_cannot_be_kept(api: Api, body: bytes) -> None:
    reply = api.post(MESSAGES, data=body)
    assert reply.status_code == 422, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"message=x",
        b'{"message": }',
        b"\xff\xfe",
        b'{"message": "\xff"}',
        b'{"message": "x"} {}',
    ],
)
def test_what_is_no_json_is_malformed(api: Api, body: bytes) -> None:
    problem(api.post(MESSAGES, data=body), 400, "malformed_json")


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"-1e999"])
def test_a_number_that_is_not_finite_is_refused(api: Api, number: bytes) -> None:
    reply = api.post(MESSAGES, data=b'{"message": "x", "metadata": {"a": %s}}' % number)
    assert reply.status_code in {400, 422}, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("levels", [17, 2_000, 100_000])
def test_metadata_that_is_too_deep_is_refused(api: Api, levels: int) -> None:
    metadata = b'{"a":' * levels + b"1" + b"}" * levels
    reply = api.post(MESSAGES, data=b'{"message": "x", "metadata": %s}' % metadata)
    assert reply.status_code in {413, 422}, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_a_body_that_is_too_large_is_refused(api: Api) -> None:
    problem(api.post(MESSAGES, data=b" " * 600_000), 413, "body_too_large")


def test_a_connection_that_ends_with_an_error_says_so(api: Api, user_token: str) -> None:
    # Else the client's next call goes into a closed connection, and it cannot know why.
    headers = {"Authorization": f"Bearer {user_token}"}
    with closing(HTTPConnection(api.url.removeprefix("http://"), timeout=10)) as connection:
        connection.request("POST", MESSAGES, b" " * 600_000, headers)
        refusal = connection.getresponse()
        refusal.read()
        assert refusal.status == 413
        if not refusal.will_close:
            connection.request("GET", "/api/threads", headers=headers)
            assert connection.getresponse().status == 200


def test_the_largest_message_passes_the_door(api: Api) -> None:
    # Every byte of it escaped, as some clients do.
    body = b'{"message": "' + b"\\u0001" * 65_536 + b'"}'
    assert ok(api.post(MESSAGES, data=body))["content"] == "\x01" * 65_536


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_limit"),
        ("limit=1001", "invalid_limit"),
        ("limit=-1", "invalid_limit"),
        ("limit=", "invalid_limit"),
        ("limit=ten", "invalid_limit"),
        ("limit=1.5", "invalid_limit"),
        ("limit=%D9%A1", "invalid_limit"),
        ("limit=99999999999999999999", "invalid_limit"),
        ("limit=0000000019999", "invalid_limit"),
        ("limit=" + "0" * 4_000 + "1" * 1_000, "invalid_limit"),
        ("order=up", "invalid_order"),
        ("order=ASC", "invalid_order"),
        ("cursor=x", "invalid_cursor"),
        ("cursor=00000000-0000-0000-0000-000000000000", "invalid_cursor"),
        ("cursor=%00", "invalid_cursor"),
    ],
)
def test_a_wrong_query_is_refused(api: Api, query: str, code: str) -> None:
    api.send("t", "hello")
    problem(api.get(f"{MESSAGES}?{query}"), 422, code)


@pytest.mark.parametrize("thread_id", ["a%20b", "%C3%A9", "%FF", "%00", "x" * 129])
def test_a_thread_id_outside_the_alphabet_is_refused(api: Api, thread_id: str) -> None:
    problem(api.get(f"/api/threads/{thread_id}"), 422, "thread_id_invalid")
    problem(
        api.post(f"/api/threads/{thread_id}/messages", json={"message": "x"}),
        422,
        "thread_id_invalid",
    )
    problem(api.post("/api/threads", json={"id": "a b"}), 422, "thread_id_invalid")


@pytest.mark.parametrize(
    "message_id",
    [
        *("x", "%00", "%FF", "00000000-0000-0000-0000-000000000000"),
        pytest.param(FAR_AHEAD, id="far ahead"),
    ],
)
def test_an_id_of_any_form_is_simply_not_found(api: Api, message_id: str) -> None:
    path = f"/api/messages/{message_id}"
    problem(api.get(path), 404, "not_found")
    problem(api.get(f"{path}/receipt"), 404, "not_found")
    problem(api.patch(path, json={"message": "x"}), 404, "not_found")
    problem(api.delete(path), 404, "not_found")


@pytest.mark.parametrize(
    "given", ['"x"', "abc", '"-1"', '"1.5"', '"\u0661"', '"' + "9" * 5_000 + '"']
)
def test_a_wrong_if_match_is_refused(api: Api, given: str) -> None:
    made = api.send("t", "hello")
    path = f"/api/messages/{made['id']}"
    headers = {"If-Match": given.encode().decode("latin-1")}
    reply = api.patch(path, json={"message": "x"}, headers=headers)
    assert reply.status_code in {400, 412}, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert ok(api.get(path))["version"] == 1


@pytest.mark.parametrize("key", ["", "x" * 257])
def test_a_wrong_idempotency_key_is_refused(api: Api, key: str) -> None:
    reply = api.post(MESSAGES, json={"message": "x"}, headers={"Idempotency-Key": key})
    problem(reply, 422, "idempotency_key_invalid")


WRITES = [
    one for one in operations(create_app(settings.load(COMPLETE))).values() if one.refuses_key
]


@pytest.mark.parametrize("call", WRITES, ids=lambda call: call.name)
def test_a_write_refuses_a_key_that_it_does_not_heed(
    api: Api, admin_api: Api, call: Operation
) -> None:
    own = admin_api if "/admin/" in call.path else api
    path = re.sub(r"{\w+}", "x", call.path)
    reply = own.call(call.method.upper(), path, json={}, headers={KEY: "k"})
    assert KEY in problem(reply, 400, "idempotency_key_unsupported")["detail"]


def test_a_key_is_no_matter_of_a_read(api: Api) -> None:
    ok(api.get("/api/threads", headers={KEY: "k"}))


def test_a_caller_is_looked_at_before_the_key(anonymous_api: Api) -> None:
    reply = anonymous_api.patch("/api/threads/t", json={}, headers={KEY: "k"})
    problem(reply, 401, "invalid_token")


def test_nothing_to_change_is_told(api: Api) -> None:
    made = api.send("t", "hello")
    problem(api.patch(f"/api/messages/{made['id']}", json={}), 422, "nothing_to_change")
    problem(api.patch("/api/threads/t", json={}), 422, "nothing_to_change")


def test_a_title_has_its_limits(api: Api) -> None:
    problem(api.post("/api/threads", json={"title": "x" * 1025}), 422, "title_too_long")
    problem(api.post("/api/threads", json={"title": "\0"}), 422, "text_unkeepable")


@pytest.mark.parametrize("path", ["/api/nothing", "/api/threads/", "/api/messages", "/nothing"])
def test_an_unknown_path_is_a_problem(api: Api, path: str) -> None:
    problem(api.get(path), 404, "not_found")


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(api: Api) -> None:
    reply = api.call("PUT", "/api/threads")
    problem(reply, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(reply.headers["Allow"].replace(" ", "").split(","))


@pytest.mark.parametrize("path", ["/api//threads", "/api/threads//t", "/api/messages//x"])
def test_no_page_stands_under_the_api(api: Api, path: str) -> None:
    assert "html" not in api.get(path).headers.get("Content-Type", "")


def test_a_request_keeps_the_id_it_came_with(api: Api) -> None:
    given = f"request-{secrets.token_hex(4)}"
    reply = api.get("/api/messages/x", headers={"X-Request-ID": given})
    assert problem(reply, 404, "not_found")["request_id"] == given
    assert api.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "a,b"])
def test_an_id_that_is_none_is_replaced(api: Api, given: str) -> None:
    reply = api.get("/healthz", headers={"X-Request-ID": given})
    assert reply.headers["X-Request-ID"] not in {"", given}


def test_answers_are_neither_cached_nor_guessed_at(api: Api) -> None:
    api.send("t", "hello")
    for reply in (api.get(MESSAGES), api.get("/api/nothing")):
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
