"""The caller's session over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.calls.api import Api, ok, problem
from support.data.states import committed, session
from support.waiting import eventually
from wiring.process import Services

PATH = "/api/session"


def put(api: Api, state: Any, **body: Any) -> dict[str, Any]:
    return ok(api.call("PUT", PATH, json={"state": state, **body}))


def test_a_session_is_written_read_merged_and_deleted(
    api: Api, services: Services, user: str
) -> None:
    problem(api.get(PATH), 404, "not_found")
    made = put(api, {"preferences": {"theme": "dark", "language": "de"}, "active_threads": ["a"]})
    assert (made["version"], made["tier_used"], made["durability"]) == (1, "redis", "fsynced")
    assert made["tiers"] == ["redis"]
    assert made["background_persistence"] is True
    patch = {"preferences": {"theme": None}, "active_threads": ["a", "b"]}
    merged = ok(api.patch(PATH, json={"state": patch}))
    assert merged["version"] == 2
    wanted = {"preferences": {"language": "de"}, "active_threads": ["a", "b"]}
    reply = api.get(PATH)
    assert ok(reply)["state"] == merged["state"] == wanted
    assert (reply.headers["ETag"], ok(reply)["retrieval_source"]) == ('"2"', "redis")
    eventually(lambda: committed(services, session(user)) == (2, wanted))
    assert api.delete(PATH, headers={"If-Match": '"2"'}).status_code == 204
    problem(api.get(PATH), 404, "not_found")
    problem(api.delete(PATH), 404, "not_found")
    assert ok(api.patch(PATH, json={"state": {"n": 1}}))["state"] == {"n": 1}


def test_each_write_renews_its_time(api: Api) -> None:
    def lasts(answer: dict[str, Any]) -> timedelta:
        return datetime.fromisoformat(answer["expires_at"]) - datetime.fromisoformat(
            answer["updated_at"]
        )

    assert lasts(put(api, {})) == timedelta(days=30)
    assert lasts(put(api, {}, ttl_seconds=60)) == timedelta(seconds=60)
    assert lasts(ok(api.patch(PATH, json={"state": {}}))) == timedelta(days=30)
    assert put(api, {}, ttl_seconds=None)["expires_at"] is None
    put(api, {}, ttl_seconds=1)
    eventually(lambda: api.get(PATH).status_code == 404)


def test_a_stale_version_is_a_conflict(api: Api) -> None:
    put(api, {"n": 1}, version=0)
    put(api, {"n": 2}, version=1)
    for stale in (
        api.call("PUT", PATH, json={"state": {}, "version": 1}),
        api.call("PUT", PATH, json={"state": {}, "version": 0}),
        api.patch(PATH, json={"state": {}, "version": 1}),
    ):
        assert problem(stale, 409, "version_conflict")["current_version"] == 2
    for stale in (
        api.call("PUT", PATH, json={"state": {}}, headers={"If-Match": '"1"'}),
        api.call("PUT", PATH, json={"state": {}, "version": 2}, headers={"If-Match": '"1"'}),
        api.call("PUT", PATH, json={"state": {}}, headers={"If-None-Match": "*"}),
        api.delete(PATH, headers={"If-Match": '"1"'}),
    ):
        assert problem(stale, 412, "version_conflict")["current_version"] == 2
    assert ok(api.get(PATH))["state"] == {"n": 2}


def test_fifty_patches_at_once_lose_nothing(api: Api) -> None:
    def patch(number: int) -> int:
        return int(ok(api.patch(PATH, json={"state": {f"field {number}": number}}))["version"])

    with ThreadPoolExecutor(10) as pool:
        versions = list(pool.map(patch, range(50)))
    assert sorted(versions) == list(range(1, 51))
    assert ok(api.get(PATH))["state"] == {f"field {number}": number for number in range(50)}


def nested(levels: int) -> Any:
    return {} if levels == 1 else {"a": nested(levels - 1)}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"state": []}', "invalid_body"),
        (b'{"state": "text"}', "invalid_body"),
        (b"{}", "invalid_body"),
        (b'{"state": {}, "ttl": 1}', "invalid_body"),
        (b'{"state": {}, "ttl_seconds": 0}', "invalid_body"),
        (b'{"state": {"a": "\\u0000"}}', "text_unkeepable"),
        (b'{"state": {"\\u0000": 1}}', "text_unkeepable"),
        (b'{"state": {"a": "\\ud800"}}', "text_unkeepable"),
        (b'{"state": {"a": 1e999}}', "invalid_body"),
    ],
)
def test_what_no_tier_can_keep_is_refused(api: Api, body: bytes, code: str) -> None:
    for method in ("PUT", "PATCH"):
        problem(api.call(method, PATH, data=body), 422, code)
    problem(api.get(PATH), 404, "not_found")


def test_a_state_has_its_limits(api: Api) -> None:
    put(api, nested(32))
    problem(api.call("PUT", PATH, json={"state": nested(33)}), 422, "state_too_deep")
    large = {"a": "x" * (256 * 1024 - 8)}
    assert put(api, large)["state"] == large
    assert ok(api.get(PATH))["state"] == large
    larger = {"a": "x" * (256 * 1024 - 7)}
    problem(api.call("PUT", PATH, json={"state": larger}), 422, "state_too_large")
    problem(api.patch(PATH, json={"state": {"b": 1}}), 422, "state_too_large")
    problem(api.call("PUT", PATH, data=b'{"state": {"a": 1'), 400, "malformed_json")
