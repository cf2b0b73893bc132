"""Conditional requests (RFC 9110, section 13): unchanged content is not sent again, and what has
changed meanwhile is not overwritten."""

import pytest

from support.calls.api import Api, ok, problem
from support.data.moving import evict, wait_until
from wiring.process import Services

SESSION = "/api/session"
RUN = "/api/runs/r/state"


def known(api: Api, path: str, tag: str) -> bool:
    """Whether a read with this ETag is answered with nothing but the ETag."""
    reply = api.get(path, headers={"If-None-Match": tag})
    assert reply.headers["ETag"]
    if reply.status_code == 304:
        assert reply.content == b""
        return True
    ok(reply)
    return False


def test_a_message_is_sent_again_only_when_it_is_another_version(api: Api) -> None:
    path = f"/api/messages/{api.send('t', 'one')['id']}"
    tag = api.get(path).headers["ETag"]
    for given in (tag, f"W/{tag}", f'"7", {tag}', "*"):
        assert known(api, path, given)
    assert not known(api, path, '"7"')
    ok(api.patch(path, json={"message": "two"}))
    assert not known(api, path, tag)
    api.delete(path)
    problem(api.get(path, headers={"If-None-Match": tag}), 404, "not_found")


def test_a_thread_is_sent_again_only_when_something_of_it_changed(api: Api) -> None:
    api.send("t", "one")
    tag = api.get("/api/threads/t").headers["ETag"]
    assert known(api, "/api/threads/t", tag)
    api.send("t", "two")
    newer = api.get("/api/threads/t").headers["ETag"]
    assert not known(api, "/api/threads/t", tag)
    ok(api.patch("/api/threads/t", json={"title": "named"}))
    assert not known(api, "/api/threads/t", newer)


@pytest.mark.parametrize("path", [SESSION, RUN])
def test_a_state_is_sent_again_only_when_it_is_another_version(api: Api, path: str) -> None:
    tag = api.call("PUT", path, json={"state": {"n": 1}}).headers["ETag"]
    assert known(api, path, tag)
    ok(api.call("PUT", path, json={"state": {"n": 2}}))
    assert not known(api, path, tag)


def test_a_checkpoint_never_changes(api: Api) -> None:
    ok(api.call("PUT", RUN, json={"state": {"n": 1}, "checkpoint": "critical"}))
    path = "/api/runs/r/checkpoints/1"
    assert known(api, path, api.get(path).headers["ETag"])


def test_a_text_that_grows_has_no_name_yet(api: Api) -> None:
    path = f"/api/messages/{ok(api.post('/api/threads/t/messages:stream'), 201)['id']}"
    ok(api.post(f"{path}/chunks", json={"text": "a"}))
    reply = api.get(path, headers={"If-None-Match": '"1"'})
    assert ok(reply)["stream"]["text"] == "a"
    assert "ETag" not in reply.headers


@pytest.mark.parametrize("path", [SESSION, RUN])
def test_a_state_is_made_only_where_there_is_none(api: Api, path: str) -> None:
    anew = {"If-None-Match": "*"}
    there = {"If-Match": "*"}
    problem(api.call("PUT", path, json={"state": {}}, headers=there), 412, "version_conflict")
    ok(api.call("PUT", path, json={"state": {"n": 1}}, headers=anew))
    problem(api.call("PUT", path, json={"state": {}}, headers=anew), 412, "version_conflict")
    assert ok(api.call("PUT", path, json={"state": {}}, headers=there))["version"] == 2
    both = api.call("PUT", path, json={"state": {}}, headers=anew | there)
    problem(both, 412, "version_conflict")
    tag = api.call("PUT", path, json={"state": {}}, headers={"If-None-Match": '"1"'})
    problem(tag, 400, "condition_unsupported")


def test_a_weak_tag_is_no_reason_to_write(api: Api) -> None:
    path = f"/api/messages/{api.send('t', 'one')['id']}"
    for call in ("PATCH", "DELETE"):
        reply = api.call(call, path, json={"message": "two"}, headers={"If-Match": 'W/"1"'})
        assert "weak" in problem(reply, 412, "version_conflict")["detail"]
    assert ok(api.get(path))["version"] == 1


def test_a_page_is_sent_again_only_when_something_of_it_changed(api: Api) -> None:
    messages = api.send_many("t", 3)
    path = "/api/threads/t/messages?limit=2"
    other = api.get(f"{path}&order=asc").headers["ETag"]
    for change in (
        lambda: ok(api.patch(f"/api/messages/{messages[2]['id']}", json={"message": "edited"})),
        lambda: ok(api.delete(f"/api/messages/{messages[2]['id']}")),
        lambda: api.send("t", "one more"),
    ):
        tag = api.get(path).headers["ETag"]
        assert tag.startswith('W/"')
        assert tag != other
        for given in (tag, f'"7", {tag}', tag.removeprefix("W/")):
            assert known(api, path, given)
        change()
        assert not known(api, path, tag)


def test_a_page_is_the_same_whichever_tier_it_comes_from(api: Api, services: Services) -> None:
    made = api.send_many("t", 3)
    path = "/api/threads/t/messages"
    wait_until(api, "persisted", made)
    first = api.get(path)
    evict(services, made)
    assert known(api, path, first.headers["ETag"])
    evict(services, made)
    assert ok(api.get(path))["retrieval_source"] == "postgresql"


def test_a_page_with_a_text_that_grows_changes_with_it(api: Api) -> None:
    message = ok(api.post("/api/threads/t/messages:stream"), 201)["id"]
    path = "/api/threads/t/messages"
    tag = api.get(path).headers["ETag"]
    ok(api.post(f"/api/messages/{message}/chunks", json={"text": "a"}))
    assert not known(api, path, tag)


def test_a_list_of_threads_is_sent_again_only_when_something_of_it_changed(api: Api) -> None:
    api.send("a", "one")
    tag = api.get("/api/threads").headers["ETag"]
    assert known(api, "/api/threads", tag)
    api.send("a", "two")
    assert not known(api, "/api/threads", tag)
    newer = api.get("/api/threads").headers["ETag"]
    ok(api.patch("/api/threads/a", json={"title": "named"}))
    assert not known(api, "/api/threads", newer)


@pytest.mark.parametrize("path", ["/api/search?q=x", "/api/console"])
def test_a_list_of_what_is_found_has_no_condition(api: Api, path: str) -> None:
    api.send("t", "one")
    refused = api.get(path, headers={"If-None-Match": '"1"'})
    assert "If-None-Match" in problem(refused, 400, "condition_unsupported")["detail"]


def test_a_message_is_found_by_its_id_in_capitals(api: Api) -> None:
    made = api.send_many("t", 3)
    shouted = made[0]["id"].upper()
    assert ok(api.get(f"/api/messages/{shouted}"))["id"] == made[0]["id"]
    assert ok(api.get(f"/api/messages/{shouted}/receipt"))["id"] == made[0]["id"]
    ok(api.patch(f"/api/messages/{shouted}", json={"message": "edited"}))
    cursor = made[2]["id"].upper()
    assert len(api.page("t", cursor=cursor)["messages"]) == 2
    ok(api.delete(f"/api/messages/{shouted}"))
