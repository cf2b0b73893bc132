"""One realtime process with small limits: a client that does not read is disconnected and may
resume, one too many is refused, and at the end of the process all are asked to reconnect."""

import select
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support.calls.api import Api, ok, problem
from support.calls.sockets import Socket, lazily, listening, opened, streamed
from support.data.users import fresh_user
from support.stack.processes import Launched
from support.stack.programs import Program, program
from support.waiting import eventually

MOST_OF_ONE = 4
LARGE = "x" * 60_000
MANY, AT_ONCE = 150, 15
"""Together more than the buffers between server and client."""
LIMITS = {
    "THREADKEEP_SOCKETS_PER_USER": str(MOST_OF_ONE),
    "THREADKEEP_SOCKET_QUEUE_FRAMES": "64",
    "THREADKEEP_SOCKET_QUEUE_BYTES": "1000000",
    "THREADKEEP_SOCKET_STALLED_SECONDS": "6",
}


@pytest.fixture(scope="module")
def lone(stack: Launched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The process, on the servers of the shared stack."""
    with program("realtime", stack.env | LIMITS, tmp_path_factory.mktemp("realtime")) as running:
        anyone = Api(running.url, None)
        eventually(lambda: _is_ready(anyone, running), 30)
        yield running


def _is_ready(anyone: Api, running: Program) -> bool:
    assert running.is_running, running.output
    try:
        return anyone.get("/readyz").status_code == 200
    except OSError:
        return False


@pytest.fixture
def url(lone: Program) -> str:
    return f"{lone.url.replace('http', 'ws', 1)}/api/ws"


def post_large(api: Api, slow: Socket, taken: list[dict[str, Any]]) -> list[str]:
    """Posts them all; gives their ids. After each batch `slow` takes one frame, so that it is not
    disconnected because the machine is slow."""
    made = []
    for _ in range(MANY // AT_ONCE):
        items = [{"thread_id": "t", "message": LARGE} for _ in range(AT_ONCE)]
        results = ok(api.post("/api/messages:batch", json={"messages": items}))["results"]
        made += [result["message"]["id"] for result in results]
        taken.append(slow.receive())
    return made


def received(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["message_id"] for frame in frames if frame["type"] == "message_received"]


def test_who_does_not_read_is_cut_off_and_may_go_on(url: str, user_token: str, api: Api) -> None:
    with (
        ThreadPoolExecutor(1) as beside,
        listening(url, user_token) as neighbour,
        lazily(url, user_token) as lazy,
        lazily(url, user_token) as dead,
    ):
        heard = beside.submit(neighbour.receive_all, 2 * MANY)
        frames: list[dict[str, Any]] = []
        made = post_large(api, lazy, frames)
        # Events of a client that does not read wait in the stream, but answers cannot wait.
        for _ in range(100):
            lazy.send_frame("ping")
        code, reason = read_to_the_end(lazy, frames)
        assert received(heard.result()) == made
        events = [frame for frame in frames if frame["type"] != "pong"]
        assert (code, reason) == (4008, f"resume from {events[-1]['event_id']}")
        # A client that never reads again gets nothing more, and holds no memory.
        eventually(lambda: is_cut(dead))
        assert neighbour.is_silent()
    with opened(url, user_token) as back:
        back.receive("authenticated")
        back.send_frame("subscribe", last_event_id=reason.removeprefix("resume from "))
        back.receive("subscribed")
        events += back.receive_all(2 * MANY - len(events))
        assert received(events) == made
        assert len({frame["event_id"] for frame in events}) == 2 * MANY


def is_cut(dead: Socket) -> bool:
    poller = select.poll()
    poller.register(dead.link.socket, select.POLLERR | select.POLLHUP)
    return bool(poller.poll(0))


def read_to_the_end(lazy: Socket, frames: list[dict[str, Any]]) -> tuple[int, str]:
    while True:
        try:
            frames.append(lazy.receive())
        except ConnectionClosed:
            return lazy.closed_with()


def test_who_reads_slowly_misses_nothing(url: str, user_token: str, api: Api) -> None:
    with lazily(url, user_token) as slow:
        frames: list[dict[str, Any]] = []
        made = post_large(api, slow, frames)
        assert received(frames + slow.receive_all(2 * MANY - len(frames))) == made
        assert slow.is_silent()


def test_one_user_has_so_many_places(
    url: str, lone: Program, user_token: str, token: Callable[..., str]
) -> None:
    events = f"{lone.url}/api/events"
    with ExitStack() as cleanup:
        for _ in range(MOST_OF_ONE - 1):
            cleanup.enter_context(listening(url, user_token))
        with streamed(events, user_token):
            with opened(url, user_token) as beyond:
                assert beyond.closed_with()[0] == 1013
            problem(Api(lone.url, user_token).get("/api/events"), 503, "too_many_sockets")
            cleanup.enter_context(listening(url, token(fresh_user())))
        # A client that leaves frees its connection.
        eventually(lambda: _has_room(url, user_token))


def _has_room(url: str, token: str) -> bool:
    with opened(url, token) as socket:
        try:
            return bool(socket.receive()["type"] == "authenticated")
        except ConnectionClosed:
            return False


def test_who_is_here_at_the_end_is_told_to_come_back(
    url: str, lone: Program, user_token: str, api: Api, stack: Launched
) -> None:
    """The last test of this process: it ends it."""
    with (
        listening(url, user_token) as idle,
        listening(url, user_token) as busy,
        streamed(f"{lone.url}/api/events", user_token) as events,
    ):
        for number in range(20):
            busy.send_frame(
                "send_message", thread_id="t", message=str(number), idempotency_key=str(number)
            )
        # It is in the middle of them.
        busy.receive_kind("message_confirmed", 1)
        lone.stop()
        assert idle.closed_with()[0] == 1012
        assert busy.closed_with()[0] == 1012
        assert {event["event"] for event in events} <= {"message_received", "message_persisted"}
    assert lone.status() == 0, lone.output
    assert "Traceback" not in lone.output
    # Confirmed or not, with its key each message is there once.
    with listening(stack.env["WS_URL"], user_token) as back:
        for number in range(20):
            back.send_frame(
                "send_message", thread_id="t", message=str(number), idempotency_key=str(number)
            )
        confirmed = back.receive_kind("message_confirmed", 20)
    shown = api.page("t", limit=100)["messages"]
    assert {one["id"] for one in shown} == {frame["message_id"] for frame in confirmed}
    assert len(shown) == 20


def test_who_brings_no_token_has_a_tenth_of_the_places(
    stack: Launched, tmp_path: Path, user_token: str
) -> None:
    env = stack.env | {"THREADKEEP_SOCKETS": "20"}
    with program("realtime", env, tmp_path) as running, ExitStack() as sockets:
        anyone = Api(running.url, None)
        eventually(lambda: _is_ready(anyone, running), 30)
        url = f"{running.url.replace('http', 'ws', 1)}/api/ws"
        for _ in range(2):
            sockets.enter_context(opened(url))
        with pytest.raises(InvalidStatus) as refused:
            sockets.enter_context(opened(url))
        assert refused.value.response.status_code == 503
        with opened(url, user_token) as known:
            known.receive("authenticated")
