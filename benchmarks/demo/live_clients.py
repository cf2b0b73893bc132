"""Clients that post whole conversations over HTTP and read them back, many at once."""

import http.client
import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from webapp.http.auth import Tokens

TIMEOUT_SECONDS = 30.0
TOKEN_SECONDS = 3_600
PAGE_MESSAGES = 100

Thread = tuple[str, str]
"""A user and a thread of theirs."""
Work = TypeVar("Work")


class Said(NamedTuple):
    """One message of a source."""

    user_id: str
    thread_id: str
    text: str


class Posted(NamedTuple):
    """The result of posting: each acknowledgement's latency, and how many were refused."""

    latencies_ms: list[float]
    refused: int
    ended: float


class Clients:
    """Several clients, each with one keep-alive connection."""

    def __init__(self, url: str, tokens: Tokens, count: int) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._tokens = tokens
        self._count = count
        self._issued: dict[str, str] = {}
        self._lock = threading.Lock()

    def post(
        self, conversations: Iterable[Sequence[Said]], on_message: Callable[[], None]
    ) -> Posted:
        """Posts every message as its own request, each conversation in order."""
        latencies: list[float] = []
        refused: list[int] = []

        def one(client: http.client.HTTPConnection, conversation: Sequence[Said]) -> None:
            for said in conversation:
                path = f"/api/threads/{said.thread_id}/messages"
                body = json.dumps({"message": said.text}).encode()
                headers = self._headers(said.user_id)
                started = time.perf_counter()
                client.request("POST", path, body, headers)
                answer = client.getresponse()
                answer.read()
                if answer.status == http.HTTPStatus.OK:
                    latencies.append((time.perf_counter() - started) * 1000)
                else:
                    refused.append(answer.status)
                on_message()

        # The longest first, so that no client has one left alone at the end.
        self._share_out(one, sorted(conversations, key=len, reverse=True))
        return Posted(latencies, len(refused), time.monotonic())

    def read(self, threads: Iterable[Thread]) -> dict[Thread, list[str]]:
        """The texts of threads in order, page by page from cursor to cursor."""
        found: dict[Thread, list[str]] = {}

        def one(client: http.client.HTTPConnection, thread: Thread) -> None:
            messages = self._walk(client, *thread)
            found[thread] = [
                message["content"] for message in messages if message["user_id"] == thread[0]
            ]

        self._share_out(one, list(threads))
        return found

    def _walk(
        self, client: http.client.HTTPConnection, user_id: str, thread_id: str
    ) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        base = f"/api/threads/{thread_id}/messages?order=asc&limit={PAGE_MESSAGES}"
        path: str | None = base
        while path is not None:
            client.request("GET", path, headers=self._headers(user_id))
            answer = client.getresponse()
            page = json.loads(answer.read())
            if answer.status == http.HTTPStatus.NOT_FOUND:
                return messages
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"reading a thread was answered with {answer.status}")
            messages += page["messages"]
            path = f"{base}&cursor={page['next_cursor']}" if page["next_cursor"] else None
        return messages

    def _share_out(
        self, work: Callable[[http.client.HTTPConnection, Work], None], items: Sequence[Work]
    ) -> None:
        """Runs a job for each item; each client takes the next one when it is free."""
        waiting: queue.SimpleQueue[Work] = queue.SimpleQueue()
        for item in items:
            waiting.put(item)

        def run() -> None:
            client = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
            try:
                while True:
                    try:
                        item = waiting.get_nowait()
                    except queue.Empty:
                        return
                    work(client, item)
            finally:
                client.close()

        with ThreadPoolExecutor(self._count) as pool:
            for done in [pool.submit(run) for _ in range(self._count)]:
                done.result()

    def _headers(self, user_id: str) -> dict[str, str]:
        with self._lock:
            token = self._issued.get(user_id)
            if token is None:
                token = self._tokens.issue(user_id, is_admin=False, ttl_seconds=TOKEN_SECONDS)
                self._issued[user_id] = token
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
