"""The realtime process killed, and Redis taken from it: who listens learns of everything, once."""

from typing import Any

import pytest

from selftest.bed.stack import REALTIME, Testbed
from support.calls.api import Api, ok, problem
from support.calls.clients import token_of
from support.calls.sockets import Socket, listening, opened
from support.data.users import fresh_user
from support.waiting import eventually

MESSAGES = 40
RECOVERY_SECONDS = 30

pytestmark = pytest.mark.extensive


@pytest.fixture
def url(bed: Testbed) -> str:
    return bed.env["WS_URL"]


@pytest.fixture
def own_token(bed: Testbed) -> str:
    """A token of somebody new."""
    return token_of(bed, fresh_user())


@pytest.fixture
def api(bed: Testbed, own_token: str) -> Api:
    return Api(bed.url, own_token)


def received(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["message_id"] for frame in frames if frame["type"] == "message_received"]


def test_who_comes_back_after_a_kill_has_missed_nothing(
    bed: Testbed, url: str, own_token: str, api: Api
) -> None:
    with listening(url, own_token) as socket:
        first = api.send_many("t", MESSAGES)
        heard = socket.receive_all(2 * MESSAGES)
        before = bed.kill(REALTIME)
        missed = api.send_many("t", MESSAGES)
        bed.wait_until_back(REALTIME, before)
    with opened(url, own_token) as socket:
        socket.receive("authenticated")
        socket.send_frame("subscribe", last_event_id=heard[-1]["event_id"])
        socket.receive("subscribed")
        heard += socket.receive_all(2 * MESSAGES)
        assert received(heard) == [one["id"] for one in [*first, *missed]]
        assert len({frame["event_id"] for frame in heard}) == 4 * MESSAGES
        assert socket.is_silent()


def test_a_sender_that_is_cut_off_repeats_and_makes_nothing_twice(
    bed: Testbed, url: str, own_token: str, api: Api
) -> None:
    with listening(url, own_token) as socket:
        for number in range(MESSAGES):
            _say(socket, number)
        before = bed.kill(REALTIME)
        bed.wait_until_back(REALTIME, before)
    with listening(url, own_token) as socket:
        for number in range(MESSAGES):
            _say(socket, number)
        confirmed = socket.receive_kind("message_confirmed", MESSAGES)
    shown = api.page("t", limit=1_000, order="asc")["messages"]
    assert len(shown) == MESSAGES
    assert {one["id"] for one in shown} == {frame["message_id"] for frame in confirmed}


def test_without_redis_a_message_is_still_confirmed_and_told_once(
    bed: Testbed, url: str, own_token: str, api: Api
) -> None:
    with listening(url, own_token) as sender, listening(url, own_token) as other:
        bed.proxies["redis-data"].refuse()
        try:
            confirmed = sender.send("t", "beside")
            assert (confirmed["tier_used"], confirmed["durability"]) == ("postgresql", "committed")
            assert confirmed["failover_reason"] == "redis_unavailable"
            assert confirmed["warning"] == "degraded_performance_redis_unavailable"
            assert sender.receive("message_persisted")["message_id"] == confirmed["message_id"]
            beside, persisted = other.receive_all(2)
            assert received([beside]) == [confirmed["message_id"]]
            assert persisted["type"] == "message_persisted"
            assert "~" in beside["event_id"]
            over_http = api.send("t", "also beside")
            assert over_http["tier_used"] == "postgresql"
            with opened(url, own_token) as late:
                assert late.receive("authenticated")["event_id"].startswith("~")
                assert late.send("t", "late")["tier_used"] == "postgresql"
                late.receive("message_persisted")
                third = other.receive_kind("message_received", 1)[0]["message_id"]
                bed.heal()
                # Whoever came meanwhile does not know what came before.
                late.receive("reset")
        finally:
            bed.heal()
        # What Redis is told late is told late, but not to whom it was told already.
        by_other = _heard(other, over_http["id"])
        by_sender = _heard(sender, over_http["id"])
        again = eventually(lambda: _sent_to_redis(sender), RECOVERY_SECONDS)
        by_other += _heard(other, again)
        assert not {confirmed["message_id"], third} & set(by_other)
        assert by_sender.count(third) == 1
        assert confirmed["message_id"] not in by_sender
    with opened(url, own_token) as back:
        back.receive("authenticated")
        back.send_frame("subscribe", last_event_id=beside["event_id"])
        back.receive("subscribed")
        back.receive("reset")


def test_who_comes_back_while_redis_is_away_goes_on_from_its_place_later(
    bed: Testbed, url: str, own_token: str, api: Api
) -> None:
    with listening(url, own_token) as socket:
        api.send("t", "heard")
        place = socket.receive_all(2)[-1]["event_id"]
    missed = api.send("t", "missed")
    bed.proxies["redis-data"].refuse()
    try:
        with opened(url, own_token) as back:
            assert back.receive("authenticated")["event_id"].startswith("~")
            back.send_frame("subscribe", last_event_id=place)
            back.receive("subscribed")
            bed.heal()
            # Its place was there all the time, so nobody tells it to read over HTTP.
            told = [back.receive(seconds=RECOVERY_SECONDS) for _ in range(2)]
            assert [(one["type"], one["message_id"]) for one in told] == [
                ("message_received", missed["id"]),
                ("message_persisted", missed["id"]),
            ]
            assert back.is_silent()
    finally:
        bed.heal()


def test_without_redis_a_ticket_opens_nothing_and_a_token_still_does(
    bed: Testbed, url: str, own_token: str, api: Api
) -> None:
    events_url = ok(api.get("/api"))["events_url"]
    ticket = ok(api.post("/api/tickets"), 201)["ticket"]
    bed.proxies["redis-data"].refuse()
    try:
        for reply in (
            api.post("/api/tickets"),
            Api(events_url, None).get("", params={"ticket": ticket}),
        ):
            problem(reply, 503, "storage_unavailable")
            assert reply.headers["Retry-After"] == "1"
        with opened(f"{url}?ticket={ticket}") as socket:
            assert socket.receive("error")["code"] == "storage_unavailable"
            socket.send_frame("authenticate", token=own_token)
            socket.receive("authenticated")
    finally:
        bed.heal()
    # Nobody has taken it meanwhile.
    assert eventually(lambda: _is_let_in(f"{url}?ticket={ticket}"), RECOVERY_SECONDS)


def _is_let_in(address: str) -> bool:
    with opened(address) as socket:
        return bool(socket.receive()["type"] == "authenticated")


def _say(socket: Socket, number: int) -> None:
    socket.send_frame(
        "send_message", thread_id="t", message=str(number), idempotency_key=f"key {number}"
    )


def _heard(socket: Socket, message_id: str) -> list[str]:
    """What was told up to a message, that one included."""
    known: list[str] = []
    while message_id not in known:
        known += received([socket.receive(seconds=RECOVERY_SECONDS)])
    return known


def _sent_to_redis(sender: Socket) -> str | None:
    sender.send_frame("send_message", thread_id="t", message="again")
    done = sender.receive_kind("message_confirmed", 1)[0]
    return str(done["message_id"]) if done["tier_used"] == "redis" else None
