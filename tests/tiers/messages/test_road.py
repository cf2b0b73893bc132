"""The road of a post is short: whoever changes it can hold it in their head."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from redis.connection import Connection

import webapp
from storage.resilience.combiner import _Reply
from support.data.users import fresh_user
from support.faults.outages import believe_redis
from support.waiting import eventually
from webapp.app import create_app
from webapp.http.auth import Tokens
from webapp.http.context import of
from wiring.process import Services

HOUSE = Path(webapp.__file__).parents[1]
ROOMS = ("webapp", "wiring", "jobs", "storage", "models")
MOST_FRAMES = 8
ROUTE = "post_message"
THREAD = "_run"


def road(frame: FrameType | None, first: str) -> list[str]:
    """Our own functions on the stack, the innermost first, up to the one called `first`."""
    passed: list[str] = []
    while frame is not None:
        where = Path(frame.f_code.co_filename)
        if where.is_relative_to(HOUSE) and where.relative_to(HOUSE).parts[0] in ROOMS:
            passed.append(f"{where.relative_to(HOUSE)}: {frame.f_code.co_qualname}")
            if frame.f_code.co_name == first:
                return passed
        frame = frame.f_back
    return []


@pytest.mark.usefixtures("steady_lease")
@pytest.mark.parametrize("headers", [(), ("Idempotency-Key",)], ids=["plain", "keyed"])
def test_a_post_reaches_the_driver_within_eight_frames(
    alone: Services, monkeypatch: pytest.MonkeyPatch, headers: tuple[str, ...]
) -> None:
    """From the route to where its thread waits, and in the thread that asks Redis for several."""
    believe_redis(alone)
    app = create_app(alone.settings)
    client, lease = app.test_client(), of(app).services.failover.lease
    eventually(lambda: lease.current().redis_complete and lease.current().keys_complete)
    bearer = Tokens(alone.settings).issue(fresh_user(), is_admin=False, ttl_seconds=60)
    roads: dict[str, list[str]] = {}
    send, came = Connection.send_packed_command, _Reply.came

    def sent_on(self: Any, *given: Any, **options: Any) -> Any:
        if passed := road(sys._getframe(1), THREAD):
            roads[THREAD] = passed
        return send(self, *given, **options)

    def waited(self: Any, seconds: float) -> bool:
        if passed := road(sys._getframe(1), ROUTE):
            roads[ROUTE] = passed
        return came(self, seconds)

    monkeypatch.setattr(Connection, "send_packed_command", sent_on)
    monkeypatch.setattr(_Reply, "came", waited)
    for key in ("first", "second"):
        # A process makes some things on first use.
        roads.clear()
        sent = {"Authorization": f"Bearer {bearer}", **dict.fromkeys(headers, key)}
        reply = client.post("/api/threads/t/messages", json={"message": "hello"}, headers=sent)
        assert reply.json is not None and reply.json["tier_used"] == "redis"
    assert roads.keys() == {ROUTE, THREAD}, "no post went through the driver"
    for passed in roads.values():
        assert len(passed) <= MOST_FRAMES, "\n".join(passed)
