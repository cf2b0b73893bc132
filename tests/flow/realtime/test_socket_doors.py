"""Which clients may connect, from which origins, and which frames they may send: a bad frame never
closes a socket, a bad token always does."""

import json
import socket as sockets
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import jwt
import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from settings import Settings
from support.calls.api import Api, ok, problem
from support.calls.sockets import listening, opened
from support.data.users import fresh_user
from support.stack.processes import Launched
from webapp.http.auth import Tokens

OTHER_SECRET = "another secret of thirty-two bytes"


@pytest.fixture
def url(stack: Launched) -> str:
    return stack.env["WS_URL"]


def bearer(token: str) -> dict[str, Any]:
    """A token as browsers send it: they cannot set headers, but subprotocols."""
    return {"subprotocols": [Subprotocol("bearer"), Subprotocol(token)]}


def refused_upgrade(url: str, **headers: str) -> requests.Response:
    asked = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    } | headers
    return requests.get(url.replace("ws", "http", 1), headers=asked, timeout=10)


def test_all_three_ways_to_bring_a_token(url: str, user: str, user_token: str) -> None:
    with opened(url, user_token) as by_header:
        assert by_header.receive("authenticated")["user_id"] == user
    with opened(url, **bearer(user_token)) as by_subprotocol:
        assert by_subprotocol.link.subprotocol == "bearer"
        assert by_subprotocol.receive("authenticated")["user_id"] == user
    with opened(url) as by_frame:
        by_frame.send_frame("authenticate", token=user_token, client_ref="a")
        authenticated = by_frame.receive("authenticated")
        assert (authenticated["user_id"], authenticated["client_ref"]) == (user, "a")
        assert by_frame.send("t", "hello")["thread_id"] == "t"


def test_a_token_that_says_much_is_taken_by_both_servers(
    url: str, user: str, settings: Settings, stack: Launched
) -> None:
    claims = {"sub": user, "exp": time.time() + 60, "groups": ["g" * 100] * 150}
    token = jwt.encode(claims, settings.jwt_secret, algorithm="HS256")
    assert len(token) > 20_000
    with opened(url, token) as socket:
        assert socket.receive("authenticated")["user_id"] == user
    ok(Api(stack.url, token).get("/api/threads"))


def test_a_bad_token_is_told_on_the_open_socket(url: str, settings: Settings) -> None:
    tokens = Tokens(settings)
    leeway = int(settings.jwt_leeway_seconds)
    expired = tokens.issue("u", is_admin=False, ttl_seconds=-leeway - 1)
    forged = jwt.encode({"sub": "u", "exp": 9_999_999_999}, OTHER_SECRET, algorithm="HS256")
    unsigned = jwt.encode({"sub": "u", "exp": 9_999_999_999}, None, algorithm="none")
    for wrong in (expired, forged, unsigned, "nonsense"):
        for ways in ({"token": wrong}, bearer(wrong)):
            with opened(url, **ways) as socket:
                assert socket.closed_with()[0] == 4401
        with opened(url) as socket:
            socket.send_frame("authenticate", token=wrong)
            assert socket.closed_with()[0] == 4401
    with opened(url, expired) as socket:
        assert socket.closed_with() == (4401, "the token has expired")


def test_nothing_is_done_before_a_token_is_there(url: str) -> None:
    said = (
        '{"type": "send_message", "thread_id": "t", "message": "x"}',
        '{"type": "subscribe"}',
        '{"type": "ping"}',
        "nonsense",
        b"bytes",
    )
    for frame in said:
        with opened(url) as socket:
            socket.link.send(frame)
            assert socket.closed_with() == (4401, "the first frame must bring a token")


def test_a_token_in_the_address_is_no_token(url: str, user_token: str) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(f"{url}?access_token={user_token}"):
        pass
    assert refused.value.response.status_code == 422


def test_who_says_nothing_and_whose_token_ends_must_leave(
    url: str, settings: Settings, api: Api
) -> None:
    tokens, user = Tokens(settings), fresh_user()
    leeway = int(settings.jwt_leeway_seconds)
    short = tokens.issue(user, is_admin=False, ttl_seconds=4 - leeway)
    longer = tokens.issue(user, is_admin=False, ttl_seconds=600)
    with ExitStack() as cleanup:
        silent = cleanup.enter_context(opened(url))
        leaving, staying = (cleanup.enter_context(opened(url, short)) for _ in range(2))
        for socket in (leaving, staying):
            socket.receive("authenticated")
        staying.send_frame("authenticate", token=longer)
        staying.receive("authenticated")
        assert leaving.closed_with() == (4401, "the token has expired")
        assert silent.closed_with() == (4401, "no token came in time")
        assert staying.is_silent()


def test_a_socket_does_not_change_its_user(
    url: str, user: str, user_token: str, token: Any
) -> None:
    with listening(url, user_token) as socket:
        socket.send_frame("authenticate", token=token(fresh_user()))
        assert socket.receive("error")["code"] == "another_user"
        socket.send_frame("authenticate", token=user_token)
        assert socket.receive("authenticated")["user_id"] == user


def test_pages_of_the_api_of_the_server_and_of_this_machine_may_come(
    url: str, stack: Launched, user_token: str
) -> None:
    port = stack.url.rpartition(":")[2]
    own = url.replace("ws", "http", 1).removesuffix("/api/ws")
    local = (f"http://localhost:{port}", f"http://127.0.0.1:{port}", "http://localhost:3111")
    for origin in (own, stack.url, *local):
        with opened(url, user_token, origin=origin) as socket:
            socket.receive("authenticated")


def test_foreign_pages_may_not(url: str, stack: Launched, user_token: str) -> None:
    port = stack.url.rpartition(":")[2]
    for origin in (
        "https://evil.example",
        "null",
        f"https://127.0.0.1:{port}",
        "http://127.0.0.2",
        f"http://127.0.0.1:{port}.evil.example",
    ):
        reply = refused_upgrade(url, Origin=origin, Authorization=f"Bearer {user_token}")
        problem(reply, 403, "foreign_origin")
        with pytest.raises(InvalidStatus), opened(url, user_token, origin=origin):
            pass


def test_the_page_of_the_errors_is_where_the_errors_are(url: str) -> None:
    refused = problem(refused_upgrade(url, Upgrade="h2c"), 426, "upgrade_required")
    page, _, code = refused["type"].partition("#")
    address = url.replace("ws", "http", 1).removesuffix("/api/ws") + page
    assert f'<code id="{code}">' in requests.get(address, timeout=10).text


def test_what_is_no_websocket_is_told_so(url: str, stack: Launched) -> None:
    problem(refused_upgrade(url, Upgrade="h2c"), 426, "upgrade_required")
    problem(refused_upgrade(url, **{"Sec-WebSocket-Version": "8"}), 426, "upgrade_required")
    problem(refused_upgrade(url.removesuffix("ws") + "nothing"), 404, "not_found")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "malformed_json"),
        ("{", "malformed_json"),
        ("[]", "invalid_body"),
        ('"text"', "invalid_body"),
        ("{}", "invalid_body"),
        ('{"type": "unknown"}', "invalid_body"),
        ('{"type": 1}', "invalid_body"),
        ('{"type": "ping", "more": 1}', "invalid_body"),
        ('{"type": "send_message", "thread_id": "t"}', "invalid_body"),
        ('{"type": "send_message", "thread_id": "t", "message": 1}', "invalid_body"),
        ('{"type": "send_message", "thread_id": "t", "message": ""}', "content_empty"),
        ('{"type": "send_message", "thread_id": "t/t", "message": "x"}', "thread_id_invalid"),
        ('{"type": "send_message", "thread_id": "t", "message": "\\u0000"}', "text_unkeepable"),
        ('{"type": "send_message", "thread_id": "t", "message": "\\ud800"}', "text_unkeepable"),
        ('{"type": "subscribe", "thread_ids": ["t/t"]}', "thread_id_invalid"),
        ('{"type": "subscribe", "thread_ids": "t"}', "invalid_body"),
        ('{"type": "authenticate"}', "invalid_body"),
        ("[" * 100_000, "invalid_body"),
        (b'{"type": "ping"}', "binary_frame"),
    ],
)
def test_a_bad_frame_is_answered_and_the_socket_stays(
    url: str, user_token: str, frame: Any, code: str
) -> None:
    with listening(url, user_token) as socket:
        socket.link.send(frame)
        error = socket.receive("error")
        assert error["code"] == code
        assert error["detail"]
        assert error["request_id"]
        # What is nested too deeply is not looked into.
        is_told = (code == "invalid_body" and frame[0] != "[") or frame == "[]"
        assert is_told == bool(error.get("errors"))
        assert socket.send("t", "goes on")["tier_used"] == "redis"


def test_an_error_names_the_frame_it_is_about(url: str, user_token: str) -> None:
    with listening(url, user_token) as socket:
        for reference in ("mine", 7):
            socket.send_frame("send_message", thread_id="t", client_ref=reference)
            assert socket.receive("error")["client_ref"] == reference
            socket.send_frame("ping", client_ref=reference)
            assert socket.receive("pong")["client_ref"] == reference
        socket.send_frame("ping", client_ref={"an": "object"})
        assert "client_ref" not in socket.receive("error")


def test_a_frame_beyond_the_limit_ends_the_socket_at_once(url: str, user_token: str) -> None:
    with listening(url, user_token) as socket:
        # The longest text, fully escaped, still fits.
        confirmed = socket.send("t", "\x01" * 65_536)
        assert confirmed["durability"] == "fsynced"
    for fragments in ("x" * 10_000_000, ["x" * 100_000] * 100):
        with listening(url, user_token) as socket:
            try:
                socket.link.send(fragments)
            except Exception as error:
                # The answer may come while it still sends.
                assert "1009" in str(error)
            assert socket.closed_with()[0] == 1009


def test_what_is_no_frame_ends_the_socket(url: str, user_token: str) -> None:
    for garbage in (
        b"\x81\x05hello",
        b"\xff\xff\xff\xff\xff\xff",
        b"\x83\x80\0\0\0\0",
        b"\x09\xfe\0\x7f",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        with listening(url, user_token) as socket:
            socket.link.socket.sendall(garbage)
            assert socket.closed_with()[0] == 1002
    with listening(url, user_token) as socket:
        # A text frame that is not UTF-8.
        socket.link.socket.sendall(b"\x81\x81\0\0\0\0\xff")
        assert socket.closed_with()[0] == 1007


def test_the_protocols_own_ping_and_goodbye_are_answered(url: str, user_token: str) -> None:
    with listening(url, user_token) as socket:
        assert socket.link.ping(b"hello").wait(10)
        socket.link.close(1000, "done")
        assert socket.link.close_code == 1000


def test_a_flood_is_read_slowly_and_disturbs_nobody(
    url: str, user_token: str, token: Callable[..., str]
) -> None:
    with listening(url, user_token) as flooder, listening(url, token(fresh_user())) as other:
        flooder.link.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 1 << 20)
        # Frames as a client would send them, in one write and without waiting for answers.
        ping = json.dumps({"type": "ping"}).encode()
        frame = bytes([0x81, 0x80 | len(ping), 0, 0, 0, 0]) + ping
        flooder.link.socket.sendall(frame * 600)
        assert other.send("t", "in between")["tier_used"] == "redis"
        assert {flooder.receive()["type"] for _ in range(600)} == {"pong"}


def test_the_process_says_where_it_is_and_how_it_is(
    stack: Launched, api: Api, user_token: str
) -> None:
    info = ok(api.get("/api"))
    assert info["ws_url"] == stack.env["WS_URL"]
    own = Api(info["events_url"].removesuffix("/api/events"), user_token)
    assert ok(own.get("/healthz")) == {"status": "ok"}
    assert ok(own.get("/readyz")) == {"status": "ready"}
    assert ok(own.get("/api")) == info
    for path, address in (("/api/ws", info["ws_url"]), ("/api/events", info["events_url"])):
        moved = api.get(path)
        assert (moved.status_code, moved.headers["Location"]) == (307, address)


def test_a_stranger_is_told_nothing_by_the_process(url: str, stack: Launched) -> None:
    own = Api(url.replace("ws", "http", 1).removesuffix("/api/ws"), None)
    for path in ("/api", "/api/events", "/health/persistence", "/api/threads"):
        assert own.get(path).status_code in {401, 404}
