"""Our Python client, blocking and awaiting: every call, against a real stack."""

from typing import Any

import pytest

from support.calls.api import Api
from support.calls.keys import made_key
from support.data.users import fresh_user
from support.own_clients.python import MakeClient
from support.stack.processes import Launched
from support.waiting import eventually
from threadkeep_client import (
    Conflict,
    InvalidRequest,
    KeyReused,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    VersionConflict,
)
from threadkeep_client.api import Api as Calls
from webapp.openapi.document import ORDER

LEFT_OUT = {"get_console_facts", "open_socket", "open_event_stream"} | {
    *("healthz", "readyz", "get_persistence_health"),
    *("get_analytics_summary", "get_analytics_series"),
}
ADMINS = ORDER[ORDER.index("list_dead_letters") : ORDER.index("create_ticket")]


def test_it_has_every_call_of_users() -> None:
    assert set(ORDER) - LEFT_OUT - set(ADMINS) <= vars(Calls).keys()


def test_messages(client: Any) -> None:
    sent = client.post_message("t", "hello", role="agent", metadata={"lang": "en"})
    assert (sent.content, sent.role, sent.tier_used) == ("hello", "agent", "redis")
    read = client.get_message(sent.id)
    assert (read.metadata, read.created_at) == ({"lang": "en"}, sent.created_at)
    edited = client.edit_message(sent.id, "hello, world", version=1)
    assert (edited.version, edited.content, edited.metadata) == (2, "hello, world", {"lang": "en"})
    with pytest.raises(VersionConflict) as refused:
        client.edit_message(sent.id, metadata={}, version=1)
    assert refused.value.current_version == 2
    assert client.get_receipt(sent.id).tiers["redis"].present
    client.delete_message(sent.id, version=2)
    with pytest.raises(NotFound):
        client.get_message(sent.id)


def test_the_same_key_is_the_same_message(client: Any) -> None:
    first, again = (client.post_message("t", "once", idempotency_key="k") for _ in range(2))
    assert first.id == again.id
    with pytest.raises(KeyReused):
        client.post_message("t", "twice", idempotency_key="k")
    assert [one.content for one in client.messages("t")] == ["once"]


def test_lists_are_walked_through(client: Any) -> None:
    items = [{"thread_id": f"t{n % 3}", "message": f"walk {n}"} for n in range(9)]
    done = client.post_batch(items)
    assert (done.accepted, [one.status for one in done.results]) == (9, [200] * 9)
    walked = [one.content for one in client.messages("t0", order="asc", limit=2)]
    assert walked == ["walk 0", "walk 3", "walk 6"]
    page = client.list_messages("t0", limit=2)
    assert [one.content for one in page.items] == ["walk 6", "walk 3"]
    rest = client.list_messages("t0", limit=2, cursor=page.next_cursor)
    assert ([one.content for one in rest.items], rest.next_cursor) == (["walk 0"], None)
    assert {one.id for one in client.threads(limit=1)} == {"t0", "t1", "t2"}

    def found() -> bool:
        return len(list(client.search("walk", limit=4))) == 9

    assert eventually(found, 15)
    (one,) = client.search_messages("walk 4", thread_id="t1", role="user").items
    assert one.highlights


def test_a_batch_says_what_it_refuses(client: Any) -> None:
    done = client.post_batch(
        [{"thread_id": "t", "message": "x"}, {"thread_id": "/", "message": "y"}]
    )
    assert (done.accepted, done.refused) == (1, 1)
    assert done.results[1].code == "thread_id_invalid"


def test_threads(client: Any) -> None:
    made = client.create_thread("plans", title="Plans", metadata={"a": 1})
    assert (made.id, made.message_count) == ("plans", 0)
    with pytest.raises(Conflict) as refused:
        client.create_thread("plans")
    assert refused.value.code == "thread_exists"
    changed = client.change_thread("plans", title=None, is_pinned=True)
    assert (changed.title, changed.metadata, changed.is_pinned) == (None, {"a": 1}, True)
    assert [one.id for one in client.list_threads(is_pinned=True).items] == ["plans"]
    assert client.get_thread("plans").is_pinned
    client.delete_thread("plans")
    with pytest.raises(NotFound):
        client.get_thread("plans")
    assert len(client.create_thread().id) == 32


def test_sessions(client: Any) -> None:
    saved = client.put_session({"theme": "dark", "open": ["t"]}, version=0, ttl_seconds=None)
    assert saved.expires_at is None
    client.patch_session({"open": None}, version=saved.version)
    assert client.get_session().state == {"theme": "dark"}
    with pytest.raises(VersionConflict):
        client.put_session({}, version=saved.version)
    client.delete_session()
    with pytest.raises(NotFound):
        client.get_session()


def test_runs(client: Any) -> None:
    first = client.put_run_state("r", {"step": 1}, checkpoint="critical")
    assert "postgresql" in first.tiers
    client.put_run_state("r", {"step": 2}, version=first.version, ttl_seconds=60)
    assert client.get_run_state("r").state == {"step": 2}
    assert [one.version for one in client.checkpoints("r")] == [first.version]
    assert client.list_checkpoints("r", limit=1).items[0].checkpoint == "critical"
    assert client.get_checkpoint("r", first.version).state == {"step": 1}
    assert client.restore_checkpoint("r", first.version).state == {"step": 1}
    client.delete_run_state("r")
    with pytest.raises(NotFound):
        client.get_run_state("r")


def test_what_is_wrong_is_said(client: Any, make_client: MakeClient, stack: Launched) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.post_message("t", "x", role="robot")
    assert (refused.value.status, refused.value.code) == (422, "invalid_body")
    assert (refused.value.errors[0].field, refused.value.errors[0].given) == ("$.role", "robot")
    assert refused.value.request_id
    with pytest.raises(NotAuthenticated):
        make_client(stack.url, "nonsense").get_session()


def test_a_refused_token_is_renewed_once(
    make_client: MakeClient, stack: Launched, user_token: str
) -> None:
    given = ["old", user_token, "never asked for"]
    asked = iter(given)
    client = make_client(stack.url, lambda: next(asked))
    assert client.post_message("t", "hello").content == "hello"
    assert client.get_thread("t").message_count == 1
    assert next(asked) == "never asked for"
    with pytest.raises(NotAuthenticated):
        make_client(stack.url, lambda: "always bad").get_session()


def test_a_key_acts_for_a_user(
    make_client: MakeClient, stack: Launched, admin_api: Api, user: str, api: Api
) -> None:
    scopes = ("messages:read", "messages:write", "on_behalf_of")
    agent = make_client(stack.url, made_key(admin_api, *scopes)["key"])
    sent = agent.on_behalf_of(user).post_message("t", "for you", role="agent")
    assert sent.user_id == user
    assert api.page("t")["messages"][0]["id"] == sent.id
    awkward = f"{fresh_user()} é % "
    assert agent.on_behalf_of(awkward).post_message("t", "x").user_id == awkward
    assert agent.post_message("t", "x").user_id.startswith("key:")
    with pytest.raises(NotAllowed) as refused:
        agent.get_session()
    assert refused.value.code == "insufficient_scope"


def test_the_server_says_where_it_is(client: Any) -> None:
    assert client.get_service_info().ws_url.startswith("ws")
    assert client.create_ticket().expires_in == 30
