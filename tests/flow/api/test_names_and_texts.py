"""Messages without text, and names that no thread or run may have."""

from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection

import pytest

from models.message import ROLES
from support.calls.api import Api, ok, problem
from support.calls.sockets import opened
from support.data.moving import wait_until
from support.data.users import fresh_user
from support.stack.processes import Launched

CALLS = {"tool_calls": [{"id": "call_1", "function": {"name": "look", "arguments": "{}"}}]}
MESSAGES = "/api/threads/t/messages"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("text", [None, ""])
def test_a_call_of_a_tool_needs_no_word(api: Api, role: str, text: str | None) -> None:
    made = ok(api.post(MESSAGES, json={"message": text, "role": role, "metadata": CALLS}))
    assert (made["content"], made["metadata"]) == ("", CALLS)
    assert api.page("t")["messages"][0]["content"] == ""
    assert ok(api.get("/api/threads/t"))["message_count"] == 1


def test_it_is_in_every_tier_and_does_no_harm_there(api: Api) -> None:
    api.send("t", "what is the weather?")
    made = ok(api.post(MESSAGES, json={"message": None, "role": "agent", "metadata": CALLS}))
    wait_until(api, "archived", [made])
    assert ok(api.get("/api/search?q=weather"))["messages"][0]["id"] != made["id"]
    assert ok(api.get("/api/threads"))["threads"][0]["last_message_preview"] == ""
    assert all(tier["present"] for tier in api.receipt(made["id"])["tiers"].values())


def test_a_text_may_go_only_where_metadata_stays(api: Api) -> None:
    path = f"/api/messages/{api.send('t', 'one')['id']}"
    for change in ({"message": ""}, {"message": None}, {"message": None, "metadata": {}}):
        problem(api.patch(path, json=change), 422, "content_empty")
    assert ok(api.patch(path, json={"message": None, "metadata": CALLS}))["content"] == ""
    problem(api.patch(path, json={"metadata": {}}), 422, "content_empty")
    assert ok(api.patch(path, json={"message": ""}))["metadata"] == CALLS
    assert ok(api.patch(path, json={"message": "two", "metadata": {}}))["content"] == "two"


def test_batches_and_sockets_take_it_too(api: Api, url: str, user_token: str) -> None:
    item = {"thread_id": "t", "message": None, "metadata": CALLS}
    done = ok(api.post("/api/messages:batch", json={"messages": [item, item | {"metadata": {}}]}))
    assert [one["status"] for one in done["results"]] == [200, 422]
    assert done["results"][1]["code"] == "content_empty"
    with opened(url, user_token) as socket:
        socket.receive("authenticated")
        socket.send_frame("send_message", **item)
        made = socket.receive("message_confirmed")["message_id"]
    assert ok(api.get(f"/api/messages/{made}"))["content"] == ""


@pytest.fixture
def url(stack: Launched) -> str:
    return stack.env["WS_URL"]


@pytest.mark.parametrize("name", [".", ".."])
def test_nothing_is_called_what_no_client_can_ask_for(api: Api, user_token: str, name: str) -> None:
    problem(api.post("/api/threads", json={"id": name}), 422, "thread_id_invalid")
    item = {"thread_id": name, "message": "x"}
    done = ok(api.post("/api/messages:batch", json={"messages": [item]}))
    assert done["results"][0]["code"] == "thread_id_invalid"
    for method, path in (
        ("POST", f"/api/threads/{name}/messages"),
        ("POST", f"/api/threads/{name}/messages:stream"),
        ("PUT", f"/api/runs/{name}/state"),
    ):
        reply = asked_as_it_is(api, user_token, method, path)
        assert reply == 422, path
    # What was called so before is read as ever: there is none.
    assert asked_as_it_is(api, user_token, "GET", f"/api/threads/{name}") == 404


def asked_as_it_is(api: Api, token: str, method: str, path: str) -> int:
    """The status of a call by a client that takes nothing out of a path."""
    headers = {"Authorization": f"Bearer {token}"}
    with closing(HTTPConnection(api.url.removeprefix("http://"), timeout=15)) as connection:
        connection.request(method, path, b'{"message": "x", "state": {}}', headers)
        reply = connection.getresponse()
        reply.read()
        return reply.status


@pytest.mark.parametrize("prefix", ["/", "../", "a//", "a/../", "\n", "%2F", "?", "é"])
def test_a_user_of_any_name_can_be_erased(
    admin_api: Api, token: Callable[..., str], prefix: str
) -> None:
    user = prefix + fresh_user()
    own = Api(admin_api.url, token(user))
    own.send("t", "secret")
    reply = admin_api.delete("/api/admin/users", params={"user_id": user})
    assert reply.status_code in {200, 202}, reply.text
    assert reply.json()["user_id"] == user
    problem(own.get("/api/threads/t"), 404, "not_found")


def test_a_receipt_says_that_a_message_is_gone_with_its_thread(api: Api) -> None:
    kept, gone, buried = api.send("t", "a"), api.send("u", "b"), api.send("t", "c")
    api.delete("/api/threads/u")
    api.delete(f"/api/messages/{buried['id']}")
    assert api.receipt(kept["id"])["state"] not in {"deleted", "erased"}
    assert api.receipt(buried["id"])["state"] in {"deleted", "erased"}
    reply = api.get(f"/api/messages/{gone['id']}/receipt")
    # Soon no tier has it.
    assert reply.status_code == 404 or ok(reply)["state"] in {"deleted", "erased"}
