"""One caller may ask for so much: the next call answers 429, and everyone else's goes on."""

from collections.abc import Callable, Iterator

import pytest

from support.calls.api import Api, ok, problem
from support.calls.sockets import Socket, opened
from support.data.users import fresh_user
from support.stack.processes import Launched
from support.stack.programs import Program, program
from support.waiting import eventually

LIMITS = {
    "THREADKEEP_LIMIT_WRITES": "0.01:4",
    "THREADKEEP_LIMIT_READS": "0.01:5",
    "THREADKEEP_LIMIT_SEARCHES": "0.01:1",
    "THREADKEEP_LIMIT_HEAVY": "0.01:1",
    "THREADKEEP_LIMIT_UNAUTHENTICATED": "0.01:3",
    # In one process every token is counted.
    "WEB_WORKERS": "1",
}
Enter = Callable[[str], Api]


@pytest.fixture(scope="module")
def web(stack: Launched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A web process with small limits, on the servers of the shared stack."""
    with program("web", stack.env | LIMITS, tmp_path_factory.mktemp("limited")) as running:
        eventually(lambda: _is_ready(running), 60)
        yield running


def _is_ready(running: Program) -> bool:
    assert running.is_running, running.output
    try:
        return Api(running.url, None).get("/readyz").status_code == 200
    except OSError:
        return False


@pytest.fixture
def limited(web: Program, user_token: str) -> Api:
    return Api(web.url, user_token)


def test_a_post_says_what_is_left_and_one_too_many_is_refused(
    limited: Api, web: Program, token: Callable[..., str]
) -> None:
    path, body = "/api/threads/t/messages", {"json": {"message": "hello"}}
    for left in (3, 2, 1, 0):
        reply = limited.post(path, **body)
        ok(reply)
        assert reply.headers["RateLimit"].startswith(f'"write";r={left};t=')
        assert reply.headers["RateLimit-Policy"] == '"write";q=4;w=400'
    refused = limited.post(path, **body)
    problem(refused, 429, "rate_limited")
    assert 90 <= int(refused.headers["Retry-After"]) <= 100
    assert refused.headers["RateLimit"].startswith('"write";r=0;t=')
    # What takes the application's way takes from the same bucket.
    problem(limited.post("/api/threads", json={}), 429, "rate_limited")
    assert len(ok(limited.get(path))["messages"]) == 4
    ok(Api(web.url, token(fresh_user())).post(path, **body))


@pytest.mark.parametrize(
    ("path", "name"), [("/api/search?q=x", "search"), ("/api/analytics/summary", "heavy")]
)
def test_what_is_heavy_has_buckets_of_its_own(limited: Api, path: str, name: str) -> None:
    first = limited.get(path)
    ok(first)
    assert first.headers["RateLimit"].startswith(f'"{name}";r=0;t=')
    problem(limited.get(path), 429, "rate_limited")
    ok(limited.get("/api/threads"))


def test_a_batch_is_heavy(limited: Api) -> None:
    body = {"json": {"messages": [{"thread_id": "t", "message": "hello"}]}}
    ok(limited.post("/api/messages:batch", **body))
    problem(limited.post("/api/messages:batch", **body), 429, "rate_limited")


def test_what_a_valid_token_may_not_do_takes_nothing_of_its_address(limited: Api) -> None:
    for _ in range(5):
        refused = limited.get("/api/threads", headers={"Threadkeep-User": "another"})
        problem(refused, 403, "on_behalf_of_refused")


def test_who_brings_no_valid_token_is_limited_by_address(web: Program, limited: Api) -> None:
    stranger = Api(web.url, "no token")
    for _ in range(3):
        problem(stranger.get("/api/threads"), 401, "invalid_token")
    problem(stranger.get("/api/threads"), 429, "rate_limited")
    # Who has one is nobody's neighbour, and what is public stays so.
    ok(limited.get("/api/threads"))
    assert stranger.get("/healthz").status_code == 200


def test_refusals_are_counted(web: Program, limited: Api, token: Callable[..., str]) -> None:
    for _ in range(2):
        limited.get("/api/search?q=x")
    text = Api(web.url, token(fresh_user(), admin=True)).get("/metrics").text
    (line,) = [one for one in text.splitlines() if 'rate_limited_total{limit="search"' in one]
    assert float(line.rpartition(" ")[2]) >= 1


def test_a_socket_takes_from_the_same_kind_of_bucket(
    stack: Launched, user_token: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("limited-realtime")
    with program("realtime", stack.env | LIMITS, folder) as running:
        eventually(lambda: _is_ready(running), 60)
        url = f"{running.url.replace('http', 'ws', 1)}/api/ws"
        with opened(url, user_token) as socket:
            kinds = [_sent(socket) for _ in range(5)]
            assert kinds[:4] == ["message_confirmed"] * 4
            assert kinds[4] == "rate_limited"
        for _ in range(4):
            with opened(url, user_token):
                pass
        refused = Api(running.url, user_token).get("/api/events")
        problem(refused, 429, "rate_limited")
        assert refused.headers["RateLimit"].startswith('"read";r=0;t=')
        stranger = Api(running.url, None)
        for _ in range(3):
            problem(stranger.get("/api/events?ticket=made-up"), 401, "invalid_ticket")
        problem(stranger.get("/api/events?ticket=made-up"), 429, "rate_limited")


def _sent(socket: Socket) -> str:
    """What a message sent over a socket is answered with: the frame's kind, or an error's code."""
    socket.send_frame("send_message", thread_id="t", message="hello")
    while (frame := socket.receive())["type"] not in {"message_confirmed", "error"}:
        pass
    return str(frame.get("code", frame["type"]))
