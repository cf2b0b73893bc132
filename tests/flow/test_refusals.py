"""Somebody guesses credentials at every door: few lines, one alert, and an end of it."""

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import programs
from storage.telemetry.refusals import LINES_OF_ONE
from support.calls.api import Api, ok
from support.stack.processes import Launched, launched
from support.waiting import eventually
from webapp.http.auth import Tokens

GUESSES = 1_000
ALERTS = "/api/admin/performance-alerts"
END_SECONDS = 120
"""A minute of silence, two evaluations, and what a busy machine adds."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("refusals")) as stack:
        yield stack


@pytest.fixture(scope="module")
def tokens(stack: Launched) -> Tokens:
    return Tokens(programs.load("web", stack.env))


@pytest.fixture(scope="module")
def admin(stack: Launched, tokens: Tokens) -> Api:
    return Api(stack.url, tokens.issue("operator", is_admin=True, ttl_seconds=3_600))


def lines_of(stack: Launched, name: str, event: str = "refused") -> list[dict[str, Any]]:
    told = [line for line in stack.log_of(name).splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, told) if line["event"] == event]


def firing(admin: Api) -> dict[str, dict[str, Any]]:
    alerts = ok(admin.get(ALERTS))["active_alerts"]
    return {one["refused"]: one for one in alerts if one["type"] == "refusals"}


def test_a_thousand_guesses_make_few_lines_and_one_alert_that_ends(
    stack: Launched, admin: Api
) -> None:
    guesses = [f"eyJ{secrets.token_hex(20)}.e30.{secrets.token_hex(8)}" for _ in range(GUESSES)]

    def guess(token: str) -> int:
        with requests.Session() as session:
            session.trust_env = False
            given = {"Authorization": f"Bearer {token}"}
            return session.get(f"{stack.url}/api/threads", headers=given, timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(guess, guesses))
    assert set(statuses) <= {401, 429}
    assert statuses[401] > 500

    alert = eventually(lambda: firing(admin).get("login"), 30)
    # No more than all of them, by all processes together; more than a few in any case.
    assert 100 < alert["count"] <= GUESSES
    assert (alert["priority"], alert["limit_per_minute"]) == ("P1", 100)
    assert set(firing(admin)) == {"login"}

    told = lines_of(stack, "web")
    # One address; two web processes.
    assert 0 < len(told) <= 2 * LINES_OF_ONE
    assert {(one["kind"], one["address"], one["route"]) for one in told} == {
        ("login", "127.0.0.1", "/api/threads")
    }
    assert {one["reason"] for one in told} <= {"invalid_token", "rate_limited"}
    assert not [token for token in guesses if token in stack.log_of("web")]
    text = requests.get(f"{stack.url}/metrics", headers=admin._session.headers, timeout=10).text
    counted = [line for line in text.splitlines() if line.startswith("threadkeep_refusals_total")]
    assert f'threadkeep_refusals_total{{kind="login"}} {GUESSES}.0' in counted
    assert 'threadkeep_refusals_total{kind="permission"} 0.0' in counted

    eventually(lambda: not firing(admin), END_SECONDS)

    def told_of() -> int:
        rest = lines_of(stack, "web", "refused_more")
        return sum(one["count"] for one in rest) + len(lines_of(stack, "web"))

    eventually(lambda: told_of() == GUESSES, END_SECONDS)
    (past,) = [
        one
        for one in ok(admin.get(ALERTS, params={"history": "true"}))["history"]
        if one["type"] == "refusals"
    ]
    assert past["id"] == alert["id"]


def test_what_a_user_may_not_do_is_another_alert(
    stack: Launched, admin: Api, tokens: Tokens
) -> None:
    user = Api(stack.url, tokens.issue("mallory", is_admin=False, ttl_seconds=600))
    for _ in range(120):
        assert user.get("/api/admin/audit").status_code == 403
    alert = eventually(lambda: firing(admin).get("permission"), 30)
    assert 100 < alert["count"] <= 120
    assert set(firing(admin)) == {"permission"}
    (*_, line) = [one for one in lines_of(stack, "web") if one["kind"] == "permission"]
    assert (line["reason"], line["user_id"]) == ("forbidden", "mallory")


def test_event_streams_sockets_tickets_and_flower_tell_too(stack: Launched) -> None:
    events = stack.env["WS_URL"].replace("ws://", "http://").removesuffix("/ws") + "/events"
    wrong = {"Authorization": "Bearer a.b.c"}
    assert requests.get(events, headers=wrong, timeout=10).status_code == 401
    assert requests.get(f"{events}?ticket=none", timeout=10).status_code == 401
    with connect(stack.env["WS_URL"]) as socket:
        socket.send('{"type": "authenticate", "token": "a.b.c"}')
        with pytest.raises(ConnectionClosed):
            socket.recv(10)
    told = [(one["route"], one["reason"]) for one in lines_of(stack, "realtime")]
    assert told == [
        ("/api/events", "invalid_token"),
        ("/api/events", "invalid_ticket"),
        ("/api/ws", "invalid_token"),
    ]
    flower = stack.env["FLOWER_URL"]
    assert requests.get(f"{flower}/tasks", auth=("admin", "guess"), timeout=10).status_code == 401
    eventually(lambda: lines_of(stack, "flower"))
    assert [(one["reason"], one["address"]) for one in lines_of(stack, "flower")] == [
        ("no_password", "127.0.0.1")
    ]
