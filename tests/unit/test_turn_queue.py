"""Calls take turns: no more than so many at once, each as soon as there is one."""

import threading

import pytest

from support.waiting import eventually
from webapp.door.door import is_heavy
from webapp.door.turn_queue import TurnQueue

TURNS = 3


def test_no_more_calls_run_than_there_are_turns() -> None:
    turns, go, running, most = TurnQueue("turn", TURNS), threading.Event(), 0, 0
    ended: list[int] = []
    lock = threading.Lock()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait(30)
        with lock:
            running -= 1
            ended.append(1)

    for _ in range(TURNS - 1):
        turns.run(call)
    eventually(lambda: running == TURNS - 1)
    assert not turns.is_full
    for _ in range(2 * TURNS):
        turns.run(call)
    eventually(lambda: running == TURNS)
    assert turns.is_full
    assert not turns.is_stuck
    go.set()
    eventually(lambda: len(ended) == 3 * TURNS - 1)
    assert most == TURNS
    eventually(lambda: not turns.is_full)


def test_a_queue_whose_calls_do_not_end_is_stuck() -> None:
    turns, go = TurnQueue("turn", 1), threading.Event()
    turns.run(lambda: go.wait(30) and None)
    assert turns.is_full
    assert not turns.is_stuck
    turns._last_end -= 60
    assert turns.is_stuck
    go.set()
    eventually(lambda: not turns.is_stuck)


def test_one_caller_never_has_all_turns() -> None:
    turns, go, ran = TurnQueue("turn", 4, 200), threading.Event(), threading.Event()
    for _ in range(100):
        assert turns.run(lambda: go.wait(30) and None, "greedy")
    turns.run(ran.set, "modest")
    assert ran.wait(30)
    go.set()
    eventually(lambda: turns._begun == 0)


def test_callers_who_wait_take_turns_one_after_the_other() -> None:
    turns, go = TurnQueue("turn", 1), threading.Event()
    order: list[str] = []
    turns.run(lambda: go.wait(30) and None)
    for caller in ("a", "a", "a", "b", "c", "c"):
        turns.run(lambda caller=caller: order.append(caller), caller)
    go.set()
    eventually(lambda: len(order) == 6)
    assert order == ["a", "b", "c", "a", "c", "a"]


def test_a_caller_with_too_many_calls_is_refused() -> None:
    turns, go = TurnQueue("turn", 2, most_of_one=3), threading.Event()

    def begin(caller: str) -> bool:
        return turns.run(lambda: go.wait(30) and None, caller)

    assert [begin("a") for _ in range(5)] == [True, True, True, False, False]
    assert begin("b")
    assert turns._running == {"a": 1, "b": 1}
    assert all(begin("") for _ in range(5))
    go.set()
    eventually(lambda: turns._begun == 0)
    assert begin("a")


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/api/search", "q=x", True),
        ("/api/messages:batch", "", True),
        ("/api/threads/t/messages", "", False),
        ("/api/threads/t/messages", "limit=50", False),
        ("/api/threads/t/messages", "limit=100", False),
        ("/api/threads/t/messages", "cursor=x&limit=100&order=asc", False),
        ("/api/threads/t/messages", "limit=101", True),
        ("/api/threads/t/messages", "cursor=x&limit=1000", True),
        ("/api/threads", "limit=0999", True),
        ("/api/threads", "unlimit=999", False),
    ],
)
def test_what_takes_long_has_turns_of_its_own(path: str, query: str, *, expected: bool) -> None:
    assert is_heavy(path, query) is expected
