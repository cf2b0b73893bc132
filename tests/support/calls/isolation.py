"""What a stranger finds of another user's data: the case of each route."""

from collections.abc import Callable
from typing import Any, NamedTuple

import requests

from support.calls.admin_calls import ADMIN_CALLS
from support.calls.api import Api, ok, problem

SECRET = "what nobody else may read"

THREAD = "theirs"

NEVER = "01a1fc1b-eb65-7fec-82e6-2aae62aa8097"


class Theirs(NamedTuple):
    """What the other user has: a thread with a title, and two messages in it."""

    api: Api
    user_id: str
    messages: list[dict[str, Any]]

    @property
    def message_id(self) -> str:
        return str(self.messages[0]["id"])


Case = Callable[[Api, Theirs], None]


def not_found(method: str, path: str, **options: Any) -> Case:
    """The stranger gets the same answer as for an id that does not exist, word for word."""

    def case(stranger: Api, theirs: Theirs) -> None:
        def ask(message_id: str, thread_id: str) -> requests.Response:
            return stranger.call(
                method, path.format(message_id=message_id, thread_id=thread_id), **options
            )

        real = problem(ask(theirs.message_id, THREAD), 404, "not_found")
        none = problem(ask(NEVER, "no-such-thread"), 404, "not_found")
        assert {**real, "request_id": ""} == {**none, "request_id": ""}

    return case


def shows_nothing(method: str, path: str, status: int = 200, **options: Any) -> Case:
    """The stranger gets an answer of their own, with nothing of the other's in it."""

    def case(stranger: Api, theirs: Theirs) -> None:
        reply = stranger.call(method, path.format(thread_id=THREAD), **options)
        assert reply.status_code == status, reply.text
        for secret in (SECRET, theirs.user_id, *(one["id"] for one in theirs.messages)):
            assert secret not in reply.text

    return case


def forbidden(method: str, path: str, body: Any = None) -> Case:
    """The stranger is no admin, and learns nothing else."""

    def case(stranger: Api, theirs: Theirs) -> None:
        reply = stranger.call(method, path, json=body)
        problem(reply, 403, "forbidden")
        assert SECRET not in reply.text

    return case


def lists_no_thread(stranger: Api, theirs: Theirs) -> None:
    shows_nothing("GET", "/api/threads")(stranger, theirs)
    assert ok(stranger.get("/api/threads"))["threads"] == []


def posts_into_own_thread(stranger: Api, theirs: Theirs) -> None:
    headers = {"Idempotency-Key": "shared"}
    path = f"/api/threads/{THREAD}/messages"
    own = ok(stranger.post(path, json={"message": "mine"}, headers=headers))
    assert own["user_id"] != theirs.user_id
    assert own["id"] not in {one["id"] for one in theirs.messages}
    page = stranger.page(THREAD)
    assert [one["id"] for one in page["messages"]] == [own["id"]]
    assert own["id"] not in {one["id"] for one in theirs.api.page(THREAD)["messages"]}


def opens_a_stream_in_own_thread(stranger: Api, theirs: Theirs) -> None:
    path = f"/api/threads/{THREAD}/messages:stream"
    own = ok(stranger.post(path, headers={"Idempotency-Key": "shared"}), 201)
    assert own["user_id"] != theirs.user_id
    assert own["id"] not in {one["id"] for one in theirs.messages}
    assert [one["id"] for one in stranger.page(THREAD)["messages"]] == [own["id"]]


def posts_a_batch_into_own_threads(stranger: Api, theirs: Theirs) -> None:
    item = {"thread_id": THREAD, "message": "mine", "idempotency_key": "shared"}
    reply = ok(stranger.post("/api/messages:batch", json={"messages": [item]}))
    assert reply["results"][0]["message"]["user_id"] != theirs.user_id
    assert len(theirs.api.page(THREAD)["messages"]) == len(theirs.messages)


def creates_own_thread(stranger: Api, theirs: Theirs) -> None:
    made = ok(stranger.post("/api/threads", json={"id": THREAD, "title": "mine"}), 201)
    assert made["user_id"] != theirs.user_id
    assert ok(theirs.api.get(f"/api/threads/{THREAD}"))["title"] == SECRET


def has_own_session(method: str) -> Case:
    """The stranger's session is not the other's."""

    def case(stranger: Api, theirs: Theirs) -> None:
        reply = stranger.call(method, "/api/session", json={"state": {"mine": 1}})
        assert reply.status_code in {200, 204, 404}, reply.text
        assert SECRET not in reply.text
        assert ok(theirs.api.get("/api/session"))["state"] == {"note": SECRET}

    return case


def counts_nothing(stranger: Api, theirs: Theirs) -> None:
    counted = ok(stranger.get("/api/analytics/summary"))
    assert (counted["messages"], counted["threads"], counted["bytes"]) == (0, 0, 0)
    assert "everyone" not in counted


def saves_own_run(stranger: Api, theirs: Theirs) -> None:
    path = f"/api/runs/{THREAD}/state"
    own = ok(stranger.call("PUT", path, json={"state": {"mine": 1}, "version": 0}))
    assert own["version"] == 1
    assert ok(theirs.api.get(path))["state"] == {"note": SECRET}


CASES: dict[tuple[str, str], Case] = {
    ("GET", "threads.list_threads"): lists_no_thread,
    ("POST", "threads.create_thread"): creates_own_thread,
    ("GET", "threads.get_thread"): not_found("GET", "/api/threads/{thread_id}"),
    ("PATCH", "threads.change_thread"): not_found(
        "PATCH", "/api/threads/{thread_id}", json={"title": "mine"}
    ),
    ("DELETE", "threads.delete_thread"): not_found("DELETE", "/api/threads/{thread_id}"),
    ("GET", "messages.list_messages"): not_found("GET", "/api/threads/{thread_id}/messages"),
    ("POST", "messages.post_message"): posts_into_own_thread,
    ("POST", "streaming.open_stream"): opens_a_stream_in_own_thread,
    ("POST", "streaming.append_chunk"): not_found(
        "POST", "/api/messages/{message_id}/chunks", json={"text": "mine"}
    ),
    ("POST", "streaming.finish_stream"): not_found(
        "POST", "/api/messages/{message_id}/finish", json={"message": "mine"}
    ),
    ("POST", "batch.post_batch"): posts_a_batch_into_own_threads,
    ("GET", "messages.get_message"): not_found("GET", "/api/messages/{message_id}"),
    ("GET", "messages.get_receipt"): not_found("GET", "/api/messages/{message_id}/receipt"),
    ("PATCH", "messages.edit_message"): not_found(
        "PATCH", "/api/messages/{message_id}", json={"message": "mine"}
    ),
    ("DELETE", "messages.delete_message"): not_found("DELETE", "/api/messages/{message_id}"),
    ("GET", "search.search_messages"): shows_nothing("GET", "/api/search?q=nobody+else"),
    ("GET", "analytics.get_analytics_summary"): counts_nothing,
    ("GET", "analytics.get_analytics_series"): forbidden(
        "GET", "/api/analytics/series?scope=everyone"
    ),
    ("GET", "session.get_session"): has_own_session("GET"),
    ("PUT", "session.put_session"): has_own_session("PUT"),
    ("PATCH", "session.patch_session"): has_own_session("PATCH"),
    ("DELETE", "session.delete_session"): has_own_session("DELETE"),
    ("GET", "runs.get_run_state"): not_found("GET", "/api/runs/{thread_id}/state"),
    ("PUT", "runs.put_run_state"): saves_own_run,
    ("DELETE", "runs.delete_run_state"): not_found("DELETE", "/api/runs/{thread_id}/state"),
    ("GET", "runs.list_checkpoints"): not_found("GET", "/api/runs/{thread_id}/checkpoints"),
    ("GET", "runs.get_checkpoint"): not_found("GET", "/api/runs/{thread_id}/checkpoints/1"),
    ("POST", "runs.restore_checkpoint"): not_found(
        "POST", "/api/runs/{thread_id}/checkpoints/1/restore"
    ),
    **{name: forbidden(name[0], *call) for name, call in ADMIN_CALLS.items()},
    ("POST", "tickets.create_ticket"): shows_nothing("POST", "/api/tickets", 201),
    ("GET", "events.open_socket"): shows_nothing("GET", "/api/ws", 307),
    ("GET", "events.open_event_stream"): shows_nothing("GET", "/api/events", 307),
    ("GET", "console.get_console_facts"): shows_nothing("GET", "/api/console"),
    ("GET", "health.get_service_info"): shows_nothing("GET", "/api"),
    ("GET", "health.get_persistence_health"): shows_nothing("GET", "/health/persistence"),
}


def made_by(other_api: Api) -> Theirs:
    body = {"id": THREAD, "title": SECRET, "metadata": {"note": SECRET}}
    ok(other_api.post("/api/threads", json=body), 201)
    path = f"/api/threads/{THREAD}/messages"
    made = [
        ok(other_api.post(path, json={"message": SECRET, "metadata": {"note": SECRET}})),
        ok(other_api.post(path, json={"message": SECRET}, headers={"Idempotency-Key": "shared"})),
    ]
    state = {"state": {"note": SECRET}}
    ok(other_api.call("PUT", "/api/session", json=state))
    run = f"/api/runs/{THREAD}/state"
    ok(other_api.call("PUT", run, json={**state, "checkpoint": "critical"}))
    return Theirs(other_api, made[0]["user_id"], made)


def is_unharmed(theirs: Theirs) -> None:
    assert ok(theirs.api.get("/api/session"))["state"] == {"note": SECRET}
    for part in ("state", "checkpoints/1"):
        assert ok(theirs.api.get(f"/api/runs/{THREAD}/{part}"))["state"] == {"note": SECRET}
    found = theirs.api.page(THREAD, order="asc")["messages"]
    assert [(one["id"], one["version"], one["content"]) for one in found] == [
        (one["id"], 1, SECRET) for one in theirs.messages
    ]
    assert ok(theirs.api.get(f"/api/threads/{THREAD}"))["title"] == SECRET
