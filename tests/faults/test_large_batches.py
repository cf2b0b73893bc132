"""One lawful batch of 15 MB keeps nobody else from Redis, however long it takes to get there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from selftest.bed.stack import Testbed
from selftest.record.client import RecordingClient
from support.waiting import eventually

RATE = 32 * 1024 * 1024
"""Bytes that a connection to Redis takes a second: the whole batch needs longer than its deadline
for a small call."""
COUNT = 250
CHARACTERS = 60_000
ATTEMPTS = 10
POSTS = 20
PAUSE_SECONDS = 0.05


def text(number: int) -> str:
    return f"{number:03} ".ljust(CHARACTERS, "x")


def batch(client: RecordingClient, thread: str) -> Any:
    """The answer to the batch; one that finds the machine too busy is asked again, as a client
    would."""
    items = [
        {"thread_id": thread, "message": text(number), "idempotency_key": f"{thread}-{number}"}
        for number in range(COUNT)
    ]
    body = msgspec.json.encode({"messages": items})
    for _ in range(ATTEMPTS):
        answer = client.call("POST", "/api/messages:batch", body)
        assert answer.status in {200, 503}, (answer.outcome, answer.status, answer.body[:300])
        if answer.status == 200:
            return answer.json()
    raise AssertionError("no batch was acknowledged")


@contextmanager
def posting(client: RecordingClient) -> Iterator[list[str]]:
    """Another user who posts meanwhile; the tiers that took it."""
    taken: list[str] = []
    over = threading.Event()

    def post() -> None:
        while not over.is_set() or len(taken) < POSTS:
            answer = client.call("POST", "/api/threads/t/messages", b'{"message": "small"}')
            taken.append(answer.json().get("tier_used", f"status {answer.status}"))
            over.wait(PAUSE_SECONDS)

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    try:
        eventually(lambda: taken)
        yield taken
    finally:
        over.set()
        thread.join(60)


def opened(bed: Testbed) -> int:
    return sum(
        "breaker_opened" in line and '"redis"' in line for line in bed.log_of("web").splitlines()
    )


@pytest.mark.extensive
def test_f19_a_batch_of_15_mb_keeps_nobody_from_a_redis_that_is_busy(bed: Testbed) -> None:
    giant, other = bed.client("f19-batch-giant"), bed.client("f19-batch-other")
    before = opened(bed)
    bed.proxies["redis-data"].narrow(RATE)
    try:
        with posting(other) as taken:
            found = batch(giant, "f19-batch")
    finally:
        bed.proxies["redis-data"].pass_through()
    assert (found["accepted"], found["tier_used"]) == (COUNT, "redis")
    assert set(taken) == {"redis"}
    assert opened(bed) == before
    ids = [one["message"]["id"] for one in found["results"]]
    assert ids == sorted(set(ids))
    eventually(lambda: listed(giant, "f19-batch") == ids, 60)
    giant.close()
    other.close()


def listed(client: RecordingClient, thread: str) -> list[str]:
    shown: list[str] = []
    cursor = ""
    while True:
        path = f"/api/threads/{thread}/messages?order=asc&limit=50{cursor}"
        page = client.call("GET", path).json()
        for one in page["messages"]:
            assert one["content"] == text(len(shown))
            shown.append(one["id"])
        if page["next_cursor"] is None:
            return shown
        cursor = f"&cursor={page['next_cursor']}"
