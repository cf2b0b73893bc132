"""While one user does the worst that the limits allow, another's posts are still acknowledged by
Redis. How long they take `benchmarks/greedy.py` measures."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.greedy import WORST, UserConnection, fill
from support.calls.api import Api
from support.data.users import fresh_user
from support.stack.processes import Launched

POSTS = 20


@pytest.fixture(scope="module")
def greedy(stack: Launched, token: Callable[..., str]) -> Callable[[], UserConnection]:
    """Connections of a user who has a thread with large messages."""
    own = token(fresh_user())
    fill(UserConnection(stack.url, own))
    return lambda: UserConnection(stack.url, own)


@pytest.mark.parametrize("kind", WORST)
def test_one_user_changes_no_tier_for_another(
    greedy: Callable[[], UserConnection], api: Api, kind: str
) -> None:
    worst, is_over = WORST[kind], threading.Event()

    def be_greedy(_: int) -> int:
        client, count = greedy(), 0
        while not is_over.is_set():
            worst.act(client)
            count += 1
        client.close()
        return count

    with ThreadPoolExecutor(worst.at_once) as pool:
        calls = [pool.submit(be_greedy, number) for number in range(worst.at_once)]
        try:
            tiers = [api.send("t", f"message {number}")["tier_used"] for number in range(POSTS)]
        finally:
            is_over.set()
        assert sum(call.result() for call in calls) > 0
    assert tiers == ["redis"] * POSTS
