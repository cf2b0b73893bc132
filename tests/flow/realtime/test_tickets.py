"""A ticket opens one event stream or one socket, as its token would, and nothing else."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from websockets.typing import Subprotocol

from settings import Settings
from storage.redis import keys
from support.calls.api import Api, ok, problem
from support.calls.sockets import opened
from support.data.users import fresh_user
from support.stack.processes import Launched
from support.waiting import eventually
from webapp.http.auth import Tokens
from wiring.process import Services

HOME = "http://localhost:3111"
AT_ONCE = 16


@pytest.fixture
def url(api: Api) -> str:
    return str(ok(api.get("/api"))["events_url"])


@pytest.fixture
def ws_url(stack: Launched) -> str:
    return stack.env["WS_URL"]


def ticket_of(api: Api) -> str:
    made = ok(api.post("/api/tickets"), 201)
    assert made["expires_in"] == 30
    return str(made["ticket"])


def asked(url: str, **query: Any) -> requests.Response:
    """The answer to a page's `EventSource`, which sets no header of its own."""
    return requests.get(url, params=query, headers={"Origin": HOME}, stream=True, timeout=20)


@contextmanager
def events_of(url: str, **query: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """The events that a page is given."""
    with asked(url, **query) as reply:
        assert reply.status_code == 200, reply.text
        yield (
            json.loads(line.removeprefix(b"data: "))
            for line in reply.iter_lines(chunk_size=1)
            if line.startswith(b"data: ")
        )


def stored(services: Services, ticket: str) -> str:
    """Where Redis has a ticket."""
    return keys.ticket(hashlib.sha256(ticket.encode()).hexdigest())


def test_it_opens_one_event_stream(url: str, api: Api, user: str) -> None:
    ticket = ticket_of(api)
    with events_of(url, ticket=ticket, thread_id="t") as events:
        opening = next(events)
        assert (opening["type"], opening["user_id"]) == ("authenticated", user)
        assert opening["expires_at"] and opening["event_id"]
        api.send("other", "not this")
        made = api.send("t", "hello")
        assert next(events)["message"]["content"] == "hello"
        assert next(events)["message_id"] == made["id"]
        refused = asked(url, ticket=ticket)
        told = problem(refused, 401, "invalid_ticket")
        assert ticket not in refused.text
        assert "/api/tickets" in told["detail"]


def test_it_opens_one_socket(ws_url: str, api: Api, user: str) -> None:
    address = f"{ws_url}?ticket={ticket_of(api)}"
    with opened(address, origin=HOME) as socket:
        assert socket.receive("authenticated")["user_id"] == user
        assert socket.send("t", "hello")["tier_used"] == "redis"
    with opened(address, origin=HOME) as socket:
        code, why = socket.closed_with()
        assert code == 4401
        assert "/api/tickets" in why


def test_a_page_goes_on_without_a_gap(url: str, api: Api) -> None:
    with events_of(url, ticket=ticket_of(api)) as events:
        last = next(events)["event_id"]
    missed = api.send("t", "missed before the first event")
    with events_of(url, ticket=ticket_of(api), last_event_id=last) as events:
        # Whoever is cut off again here has lost nothing either.
        assert next(events)["event_id"].startswith(last.partition(".")[0])
        heard = [next(events), next(events)]
        assert {frame["message_id"] for frame in heard} == {missed["id"]}
        last = heard[-1]["event_id"]
    missed = api.send("t", "missed later")
    with events_of(url, ticket=ticket_of(api), last_event_id=last) as events:
        next(events)
        assert next(events)["message_id"] == missed["id"]
    with events_of(url, ticket=ticket_of(api), last_event_id="1-1") as events:
        assert [next(events)["type"] for _ in range(2)] == ["authenticated", "reset"]


def test_a_header_is_newer_than_the_address(url: str, api: Api, user_token: str) -> None:
    listener = Api(url, user_token)
    with events_of(url, ticket=ticket_of(api)) as events:
        first = next(events)["event_id"]
        known = api.send("t", "known")
        last = [next(events), next(events)][-1]
        assert last["message_id"] == known["id"]
    new = api.send("t", "new")
    resumed = {"params": {"last_event_id": first}, "headers": {"Last-Event-ID": last["event_id"]}}
    with listener.get("", stream=True, **resumed) as reply:
        lines = (line for line in reply.iter_lines(chunk_size=1) if line.startswith(b"data: "))
        assert json.loads(next(lines).removeprefix(b"data: "))["message_id"] == new["id"]


def test_of_many_who_use_it_one_gets_in(url: str, api: Api) -> None:
    ticket, ready = ticket_of(api), threading.Barrier(AT_ONCE)

    def use(_: int) -> int:
        ready.wait()
        with asked(url, ticket=ticket) as reply:
            return reply.status_code

    with ThreadPoolExecutor(AT_ONCE) as several:
        assert Counter(several.map(use, range(AT_ONCE))) == {200: 1, 401: AT_ONCE - 1}


def test_an_old_one_is_refused(url: str, ws_url: str, api: Api, services: Services) -> None:
    client: Any = services.tiers.redis_client
    ticket = ticket_of(api)
    assert 0 < client.ttl(stored(services, ticket)) <= 30
    client.pexpire(stored(services, ticket), 1)
    eventually(lambda: not client.exists(stored(services, ticket)))
    problem(asked(url, ticket=ticket), 401, "invalid_ticket")
    with opened(f"{ws_url}?ticket={ticket}", origin=HOME) as socket:
        assert socket.closed_with()[0] == 4401


@pytest.mark.parametrize("unknown", ["x", "a" * 43, "é☃", "a%00b", "x" * 2_000])
def test_an_invented_one_is_refused(url: str, unknown: str) -> None:
    problem(asked(url, ticket=unknown), 401, "invalid_ticket")


def test_it_is_valid_for_no_longer_than_its_token(
    url: str, stack: Launched, user: str, settings: Settings
) -> None:
    tokens, leeway = Tokens(settings), int(settings.jwt_leeway_seconds)
    short = Api(stack.url, tokens.issue(user, is_admin=False, ttl_seconds=10 - leeway))
    assert ok(short.post("/api/tickets"), 201)["expires_in"] <= 10
    ending = Api(stack.url, tokens.issue(user, is_admin=False, ttl_seconds=4 - leeway))
    ticket = ok(ending.post("/api/tickets"), 201)["ticket"]
    with events_of(url, ticket=ticket) as events:
        assert [frame["type"] for frame in events] == ["authenticated"]


def test_its_token_is_looked_at_again(
    url: str, ws_url: str, user: str, services: Services, settings: Settings
) -> None:
    leeway = int(settings.jwt_leeway_seconds)
    expired = Tokens(settings).issue(user, is_admin=False, ttl_seconds=-leeway - 1)
    for bad in (expired, "nonsense"):
        kept = json.dumps({"HTTP_AUTHORIZATION": f"Bearer {bad}"}).encode()
        tickets = [services.tiers.tickets.issue(kept, 30) for _ in range(2)]
        problem(asked(url, ticket=tickets[0]), 401, "invalid_token")
        with opened(f"{ws_url}?ticket={tickets[1]}", origin=HOME) as socket:
            assert socket.closed_with()[0] == 4401


def test_who_has_no_token_gets_none(anonymous_api: Api, stack: Launched, api: Api) -> None:
    problem(anonymous_api.post("/api/tickets"), 401, "invalid_token")
    problem(Api(stack.url, ticket_of(api)).post("/api/tickets"), 401, "invalid_token")
    problem(anonymous_api.post("/api/tickets", params={"ticket": "x"}), 401, "invalid_token")
    keyed = api.post("/api/tickets", headers={"Idempotency-Key": "k"})
    problem(keyed, 400, "idempotency_key_unsupported")


def test_it_is_no_credential_elsewhere(
    url: str, api: Api, anonymous_api: Api, user_token: str
) -> None:
    ticket = ticket_of(api)
    realtime = Api(url.removesuffix("/api/events"), user_token)
    for path in ("/api/threads", "/api/threads/t/messages", "/api/session", "/healthz", "/api"):
        if path != "/healthz":
            problem(anonymous_api.get(path, params={"ticket": ticket}), 401, "invalid_token")
        problem(api.get(path, params={"ticket": ticket}), 422, "unknown_parameter")
    problem(realtime.get("/api", params={"ticket": ticket}), 422, "unknown_parameter")
    # None of that has used it up.
    with events_of(url, ticket=ticket) as events:
        assert next(events)["type"] == "authenticated"


def test_it_comes_alone_and_once(url: str, ws_url: str, api: Api, user_token: str) -> None:
    ticket = ticket_of(api)
    listener = Api(url, user_token)
    problem(listener.get("", params={"ticket": ticket}), 400, "two_credentials")
    named = {"Threadkeep-User": "somebody"}
    other = requests.get(url, params={"ticket": ticket}, headers=named, timeout=10)
    problem(other, 400, "two_credentials")
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": f"bearer, {user_token}",
    }
    plain = ws_url.replace("ws", "http", 1)
    both = requests.get(plain, params={"ticket": ticket}, headers=upgrade, timeout=10)
    problem(both, 400, "two_credentials")
    problem(requests.get(url, params={"ticket": [ticket, "x"]}, timeout=10), 422, "invalid_ticket")
    problem(requests.get(f"{url}?ticket=", timeout=10), 422, "invalid_ticket")
    protocols = [Subprotocol("chat")]
    with opened(f"{ws_url}?ticket={ticket}", subprotocols=protocols) as socket:
        socket.receive("authenticated")


def test_a_stranger_hears_nothing(url: str, api: Api, token: Callable[..., str]) -> None:
    theirs = Api(api.url, token(fresh_user(), admin=True))
    with events_of(url, ticket=ticket_of(theirs)) as events:
        next(events)
        api.send("t", "secret")
        mine = theirs.send("t", "mine")
        assert next(events)["message_id"] == mine["id"]


def test_it_is_written_nowhere(
    url: str, api: Api, admin_api: Api, stack: Launched, services: Services, user_token: str
) -> None:
    client: Any = services.tiers.redis_client
    tickets = [ticket_of(api) for _ in range(2)]
    for ticket in tickets:
        kept = client.get(stored(services, ticket))
        assert user_token.encode() not in kept
        assert ticket not in stored(services, ticket)
        with asked(url, ticket=ticket, unknown="x") as refused:
            assert refused.status_code == 422
            assert ticket not in refused.text
    with events_of(url, ticket=tickets[0]) as events:
        next(events)
    assert asked(url, ticket=tickets[0]).status_code == 401
    api.get("/api/events", params={"ticket": tickets[1]})
    assert ticket_of(api) not in admin_api.get("/metrics").text
    logs = [file.read_text(errors="replace") for file in (stack.data / "logs").glob("*.log")]
    assert logs
    for ticket in tickets:
        assert not any(ticket in log for log in logs)
