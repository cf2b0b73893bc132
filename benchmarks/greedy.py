"""One greedy user beside a modest one: how long the modest one's posts take, and which tier has
them, while the other does the worst that the limits allow.

    python -m benchmarks.greedy [--seconds 15] [KIND …]
"""

import argparse
import json
import multiprocessing
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
from rich.console import Console

import settings
from benchmarks.stack import launched_stack
from settings import Settings
from webapp.http.auth import Tokens

PAUSE_SECONDS = 0.05
"""Between two posts of the modest user."""
WARM_UP_SECONDS = 2.0
TIMEOUT_SECONDS = 15.0
LONG = "lorem ipsum dolor sit amet " * 2_400
LARGE_MESSAGES = 300
UNREAD_AT_ONCE = 40
QUERY = quote("e* a* d* i* l*")
POST = "/api/threads/greedy/messages"
CONSOLE = Console(highlight=False, soft_wrap=True)


class UserConnection:
    """One connection of one user."""

    def __init__(self, url: str, token: str) -> None:
        self._host = urlsplit(url).netloc
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._link: HTTPConnection | None = None

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """The status and the body of an answer; 0 where none came."""
        encoded = None if body is None else msgspec.json.encode(body)
        try:
            if self._link is None:
                self._link = HTTPConnection(self._host, timeout=TIMEOUT_SECONDS)
            self._link.request(method, path, encoded, self._headers)
            reply = self._link.getresponse()
            return reply.status, reply.read()
        except (OSError, HTTPException):
            self.close()
            return 0, b""

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def ask_and_leave(self, path: str) -> socket.socket:
        """A connection that asked for something and does not read the answer."""
        host, _, port = self._host.partition(":")
        link = socket.create_connection((host, int(port)), TIMEOUT_SECONDS)
        head = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n{head}\r\n".encode())
        return link


def search(client: UserConnection) -> int:
    """Looks for many words at once."""
    return client.call("GET", f"/api/search?q={QUERY}&limit=1000")[0]


def batch(client: UserConnection) -> int:
    """Posts the largest batch, 16 MB."""
    items = [{"thread_id": "greedy", "message": LONG[:15_800]}] * 1000
    return client.call("POST", "/api/messages:batch", {"messages": items})[0]


def page(client: UserConnection) -> int:
    """Reads the largest page."""
    return client.call("GET", f"{POST}?limit=1000")[0]


def unread(client: UserConnection) -> int:
    """Asks for the largest pages and reads none of them."""
    links = [client.ask_and_leave(f"{POST}?limit=1000") for _ in range(UNREAD_AT_ONCE)]
    time.sleep(1)
    for link in links:
        link.close()
    return 200


def stream(client: UserConnection) -> int:
    """Opens a stream, and fills it."""
    body = {"role": "assistant"}
    status, answer = client.call("POST", "/api/threads/greedy/messages:stream", body)
    if status not in {200, 201}:
        return status
    path = f"/api/messages/{json.loads(answer)['id']}/chunks"
    return client.call("POST", path, {"text": LONG[:60_000]})[0]


def committed(client: UserConnection) -> int:
    """Posts, and waits for PostgreSQL."""
    return client.call("POST", POST, {"message": "x", "durability": "committed"})[0]


class Worst(NamedTuple):
    """What a greedy user does, and how often at once."""

    act: Callable[[UserConnection], int]
    at_once: int


WORST = {
    "searches": Worst(search, 64),
    "batches": Worst(batch, 8),
    "pages": Worst(page, 32),
    "unread": Worst(unread, 1),
    "streams": Worst(stream, 16),
    "committed": Worst(committed, 128),
}


class Posts(NamedTuple):
    """What became of the modest user's posts: seconds, and how many had which answer."""

    seconds: list[float]
    outcomes: Counter[str]

    def quantile_ms(self, share: float) -> float:
        """Milliseconds that this share of them stayed below."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def fill(client: UserConnection) -> None:
    """Gives the greedy user a thread with large messages."""
    items = [{"thread_id": "greedy", "message": LONG[:64_000]}] * 50
    for _ in range(LARGE_MESSAGES // len(items)):
        client.call("POST", "/api/messages:batch", {"messages": items})
    client.close()


def be_greedy(name: str, url: str, token: str, seconds: float) -> Counter[int]:
    """Does one kind of it for so long; gives how many calls had which status."""
    worst, until = WORST[name], time.monotonic() + seconds

    def run(_: int) -> Counter[int]:
        client, statuses = UserConnection(url, token), Counter[int]()
        while time.monotonic() < until:
            statuses[worst.act(client)] += 1
        client.close()
        return statuses

    with ThreadPoolExecutor(worst.at_once) as pool:
        return sum(pool.map(run, range(worst.at_once)), Counter[int]())


def post_modestly(client: UserConnection, seconds: float) -> Posts:
    """Posts one message after the other for so long."""
    posts, until = Posts([], Counter()), time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        status, body = client.call("POST", "/api/threads/modest/messages", {"message": "hello"})
        posts.seconds.append(time.perf_counter() - started)
        posts.outcomes[json.loads(body)["tier_used"] if status == 200 else str(status)] += 1
        time.sleep(PAUSE_SECONDS)
    client.close()
    return posts


def measure(name: str | None, url: str, tokens: Sequence[str], seconds: float) -> Posts:
    """The modest user's posts while the greedy one does one kind of it, or nothing. They are two
    processes, so that neither waits for the other's interpreter."""
    greedy, modest = tokens
    if name is None:
        return post_modestly(UserConnection(url, modest), seconds)
    whole = seconds + 2 * WARM_UP_SECONDS
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.apply_async(be_greedy, (name, url, greedy, whole))
        time.sleep(WARM_UP_SECONDS)
        posts = post_modestly(UserConnection(url, modest), seconds)
        statuses = other.get(whole + 60)
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    CONSOLE.print(f"{name}: the greedy user's answers: {answers}")
    return posts


def defaults() -> dict[str, str]:
    """The limits as they are unless told otherwise."""
    return {
        settings.VARIABLES[field.name]: str(field.default)
        for field in msgspec.structs.fields(Settings)
        if field.name.startswith("limit_")
    }


def main() -> None:
    """Measures each kind in turn, and calm before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[[], *WORST], default=[])
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    with launched_stack(**defaults()) as stack:
        issue = Tokens(settings.load(stack.env)).issue
        tokens = [issue(name, is_admin=False, ttl_seconds=3600) for name in ("greedy", "modest")]
        fill(UserConnection(stack.url, tokens[0]))
        for name in (None, *(options.kinds or WORST), None):
            posts = measure(name, stack.url, tokens, options.seconds)
            CONSOLE.print(
                f"{name or 'calm':10} p50 {posts.quantile_ms(0.5):7.1f} ms"
                f"  p95 {posts.quantile_ms(0.95):7.1f}  max {posts.quantile_ms(1):7.1f}"
                f"  {dict(posts.outcomes)}"
            )


if __name__ == "__main__":
    main()
