"""Callers who were refused are told of: all in counts, the first few of a minute in lines."""

import logging
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

import settings
from storage.telemetry.refusals import (
    LINES_OF_ALL,
    LINES_OF_ONE,
    MOST_ADDRESSES,
    OTHERS,
    RefusalLog,
)
from support.stack.environment import COMPLETE
from support.waiting import eventually
from tasks.programs.flower import RefusalHandler
from webapp.app import create_app
from webapp.http.auth import Tokens

OWN = settings.load(COMPLETE)
ADDRESS = "192.0.2.1"


def of(lines: list[Any], event: str = "refused") -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


def test_one_address_gets_a_few_lines_and_its_rest_is_counted() -> None:
    counted: Counter[str] = Counter()
    own = RefusalLog(lambda kind: counted.update([kind]), minute_seconds=0.3)
    with capture_logs() as lines:
        for _ in range(1_000):
            own.note("login", "invalid_token", ADDRESS, "/api/threads")
        assert counted == {"login": 1_000}
        assert len(lines) == LINES_OF_ONE
        assert lines[0] == {
            "event": "refused",
            "log_level": "warning",
            "kind": "login",
            "reason": "invalid_token",
            "address": ADDRESS,
            "route": "/api/threads",
        }
        # Without another refusal.
        eventually(lambda: of(lines, "refused_more"))
    (rest,) = of(lines, "refused_more")
    assert rest["count"] == 1_000 - LINES_OF_ONE
    assert (rest["addresses"], rest["most_from"], rest["most_count"]) == (1, ADDRESS, 997)


def test_another_minute_has_lines_again() -> None:
    own = RefusalLog(minute_seconds=0.0)
    with capture_logs() as lines:
        for _ in range(20):
            own.note("permission", "forbidden", ADDRESS, None)
    assert len(of(lines)) == 20
    assert of(lines, "refused_more") == []


def test_many_addresses_get_no_more_lines_together() -> None:
    own = RefusalLog(minute_seconds=3600)
    with capture_logs() as lines:
        for at in range(3 * MOST_ADDRESSES):
            own.note("login", "no_token", f"10.0.{at >> 8}.{at & 255}", None)
        assert len(lines) == LINES_OF_ALL
        own._ends_at = 0.0
        own.note("login", "no_token", ADDRESS, None)
    (rest,) = of(lines, "refused_more")
    assert rest["count"] == 3 * MOST_ADDRESSES - LINES_OF_ALL
    assert rest["addresses"] == MOST_ADDRESSES + 1
    assert rest["most_from"] == OTHERS


def test_a_network_of_ipv6_addresses_is_one() -> None:
    own = RefusalLog(minute_seconds=3600)
    with capture_logs() as lines:
        for at in range(100):
            own.note("login", "no_token", f"2001:db8::{at:x}", None)
    assert [line["address"] for line in lines] == ["2001:db8::0", "2001:db8::1", "2001:db8::2"]


@pytest.mark.parametrize(
    ("headers", "status", "kind", "reason"),
    [
        ({}, 401, "login", "no_token"),
        ({"Authorization": "Bearer x.y.z"}, 401, "login", "invalid_token"),
        ({"Authorization": "expired"}, 401, "login", "expired_token"),
        ({"Authorization": "user"}, 403, "permission", "forbidden"),
        (
            {"Authorization": "user", "Threadkeep-User": "b"},
            403,
            "permission",
            "on_behalf_of_refused",
        ),
    ],
)
def test_the_api_says_why_and_never_the_token(
    headers: dict[str, str], status: int, kind: str, reason: str
) -> None:
    tokens = Tokens(OWN)
    made = {
        "expired": tokens.issue("anna", is_admin=False, ttl_seconds=-3_600),
        "user": tokens.issue("anna", is_admin=False, ttl_seconds=60),
    }
    given = headers.get("Authorization", "")
    if given in made:
        headers = headers | {"Authorization": f"Bearer {made[given]}"}
    with capture_logs() as lines:
        reply = create_app(OWN).test_client().get("/api/admin/audit", headers=headers)
    assert reply.status_code == status, reply.text
    (line,) = of(lines)
    assert (line["kind"], line["route"]) == (kind, "/api/admin/audit")
    assert line["address"] == "127.0.0.1"
    assert line["reason"] == reason
    # Of neither token: one that is made begins so.
    assert "x.y.z" not in str(line) and "eyJ" not in str(line)


def test_flower_tells_of_a_wrong_password() -> None:
    handler = RefusalHandler(RefusalLog())
    with capture_logs() as lines:
        for status in (200, 401, 404, 403):
            request = ("GET /tasks?name=a (10.1.2.3)", 0.5)
            form = "%d %s %.2fms"
            handler.handle(
                logging.LogRecord("t", 30, "", 1, form, (status, *request), None)  # as Tornado's
            )
    assert [(line["kind"], line["reason"], line["address"]) for line in lines] == [
        ("login", "no_password", "10.1.2.3"),
        ("permission", "forbidden", "10.1.2.3"),
    ]
