"""Every page of a list leads to the next one, by a cursor in its body and by a link (RFC 8288)."""

import re
from typing import Any

import pytest

import settings
from support.calls.api import Api, ok
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.operation import operations

LISTS = {
    one.path
    for one in operations(create_app(settings.load(COMPLETE))).values()
    if "cursor" in one.query
}
OWN = {
    "/api/threads": "threads",
    "/api/threads/{thread_id}/messages": "messages",
    "/api/search": "messages",
    "/api/runs/{run_id}/checkpoints": "checkpoints",
}
ADMINS = {
    "/api/admin/audit": "entries",
    "/api/admin/retention": "policies",
    "/api/admin/dead-letters": "dead_letters",
    "/api/admin/keys": "keys",
    "/api/admin/revocations": "revocations",
}
FILLED = {
    "/api/threads/{thread_id}/messages": "/api/threads/a/messages?order=asc",
    "/api/search": "/api/search?q=caf%C3%A9+%26+tea",
    "/api/runs/{run_id}/checkpoints": "/api/runs/r/checkpoints",
    "/api/threads": "/api/threads?is_pinned=false",
}


def followed(api: Api, path: str, items: str, pages: int = 20) -> list[Any]:
    """All that is listed from page to page, by the links alone."""
    found: list[Any] = []
    following: str | None = path + ("&" if "?" in path else "?") + "limit=1"
    while following is not None and pages:
        reply = api.get(following)
        body = ok(reply)
        found += body[items]
        assert ("Link" in reply.headers) == (body["next_cursor"] is not None)
        link = re.fullmatch(r'<(/api/[!-;=?-~]+)>; rel="next"', reply.headers.get("Link", ""))
        following = link and link[1]
        pages -= 1
    return found


@pytest.fixture
def filled(api: Api) -> None:
    for thread in ("a", "b", "c"):
        for number in range(3):
            api.send(thread, f"café & tea, number {number}")
    for number in range(3):
        ok(
            api.call(
                "PUT", "/api/runs/r/state", json={"state": {"n": number}, "checkpoint": "full"}
            )
        )


def test_every_list_is_known_here() -> None:
    assert {*OWN, *ADMINS} == LISTS


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("path", OWN)
def test_the_links_of_a_list_lead_through_all_of_it(api: Api, path: str) -> None:
    asked = FILLED.get(path, path)
    whole = ok(api.get(asked))[OWN[path]]
    assert len(whole) >= 3
    assert followed(api, asked, OWN[path]) == whole


@pytest.mark.parametrize("path", ADMINS)
def test_the_links_of_admins_lists_do_so_too(admin_api: Api, user: str, path: str) -> None:
    for thread in ("a", "b", "c"):
        policy = {"user_id": user, "thread_id": thread, "keep_days": 30}
        ok(admin_api.call("PUT", "/api/admin/retention", json=policy))
        ok(
            admin_api.post("/api/admin/keys", json={"name": thread, "scopes": ["messages:read"]}),
            201,
        )
        revoked = {"token_id": f"{user} {thread}"}
        ok(admin_api.post("/api/admin/revocations", json=revoked), 201)
    found = followed(admin_api, path, ADMINS[path], pages=3)
    if not path.endswith("dead-letters"):
        assert len(found) == 3
