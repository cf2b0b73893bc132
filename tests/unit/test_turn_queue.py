"""Calls take turns: no more than so many at once, each as soon as there is one."""

import threading

from support.waiting import eventually
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
