"""The road of a post is short: whoever changes it can hold it in their head."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import webapp
from storage.redis.client import DirectRedis
from support.data.users import fresh_user
from support.faults.outages import believe_keys
from support.waiting import eventually
from webapp.app import create_app
from webapp.http.auth import Tokens
from webapp.http.context import of
from wiring.process import Services

HOUSE = Path(webapp.__file__).parents[1]
ROOMS = ("webapp", "wiring", "jobs", "storage", "models")
MOST_FRAMES = 8
ROUTE = "post_message"


def road(frame: FrameType | None) -> list[str]:
    """Our own functions on the stack, the innermost first, up to the route."""
    passed: list[str] = []
    while frame is not None:
        where = Path(frame.f_code.co_filename)
        if where.is_relative_to(HOUSE) and where.relative_to(HOUSE).parts[0] in ROOMS:
            passed.append(f"{where.relative_to(HOUSE)}: {frame.f_code.co_qualname}")
            if frame.f_code.co_name == ROUTE:
                return passed
        frame = frame.f_back
    return []


@pytest.mark.usefixtures("steady_lease")
@pytest.mark.parametrize("headers", [(), ("Idempotency-Key",)], ids=["plain", "keyed"])
def test_a_post_reaches_the_driver_within_eight_frames(
    alone: Services, monkeypatch: pytest.MonkeyPatch, headers: tuple[str, ...]
) -> None:
    believe_keys(alone)
    # What other tests evicted is no matter here.
    alone.tiers.redis_client.config_resetstat()
    app = create_app(alone.settings)
    client, lease = app.test_client(), of(app).services.failover.lease
    eventually(lambda: lease.current().redis_complete and lease.current().keys_complete)
    bearer = Tokens(alone.settings).issue(fresh_user(), is_admin=False, ttl_seconds=60)
    roads: list[list[str]] = []
    execute = DirectRedis.execute_command

    def walked(self: Any, *command: Any, **options: Any) -> Any:
        if passed := road(sys._getframe(1)):
            roads.append(passed)
        return execute(self, *command, **options)

    monkeypatch.setattr(DirectRedis, "execute_command", walked)
    for key in ("first", "second"):
        # A process makes some things on first use.
        roads.clear()
        sent = {"Authorization": f"Bearer {bearer}", **dict.fromkeys(headers, key)}
        reply = client.post("/api/threads/t/messages", json={"message": "hello"}, headers=sent)
        assert reply.json is not None and reply.json["tier_used"] == "redis"
    assert roads, "no post went through the driver"
    for passed in roads:
        assert len(passed) <= MOST_FRAMES, "\n".join(passed)
