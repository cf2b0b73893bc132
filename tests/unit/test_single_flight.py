"""Equal questions of the same moment are asked once, and none is answered with what was read before
it came."""

import threading
from collections.abc import Callable, Sequence
from itertools import count
from queue import SimpleQueue

from support.waiting import eventually
from webapp.door.single_flight import SingleFlight
from webapp.door.turn_queue import TurnQueue

Came = SimpleQueue[tuple[Sequence[int], Exception | None]]


class Asked:
    """A question whose answers are counted, each when it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.done: list[str] = []
        self.go = threading.Semaphore(0)
        self.failure: Exception | None = None
        self._number = count(1)

    def __call__(self, question: str) -> tuple[int, Callable[[], None] | None]:
        self.begun += 1
        assert self.go.acquire(timeout=30)
        if self.failure is not None:
            raise self.failure
        return next(self._number), lambda: self.done.append(question)


def flight(asked: Asked) -> SingleFlight[str, int]:
    return SingleFlight(TurnQueue("turn", 4), asked)


def submit(own: SingleFlight[str, int], question: str = "q") -> Came:
    came: Came = SimpleQueue()
    own.submit(question, lambda answers, error: came.put((answers, error)))
    return came


def test_who_comes_while_it_is_asked_has_the_next_answer() -> None:
    asked = Asked()
    own = flight(asked)
    first = submit(own)
    eventually(lambda: asked.begun == 1)
    later = [submit(own) for _ in range(3)]
    asked.go.release()
    assert first.get(timeout=30) == ((1,), None)
    eventually(lambda: asked.begun == 2)
    assert all(one.empty() for one in later)
    asked.go.release()
    assert [one.get(timeout=30) for one in later] == [((2,), None)] * 3
    eventually(lambda: asked.done == ["q", "q"])
    assert (asked.begun, own._waiting) == (2, {})


def test_another_question_is_asked_beside() -> None:
    asked = Asked()
    own = flight(asked)
    both = submit(own, "a"), submit(own, "b")
    eventually(lambda: asked.begun == 2)
    asked.go.release(2)
    assert {one.get(timeout=30)[0] for one in both} == {(1,), (2,)}


def test_what_fails_fails_for_those_who_waited_alone() -> None:
    asked = Asked()
    own = flight(asked)
    asked.failure = ValueError("a test")
    first = submit(own)
    asked.go.release()
    assert first.get(timeout=30) == ((), asked.failure)
    asked.failure = None
    second = submit(own)
    asked.go.release()
    assert second.get(timeout=30) == ((1,), None)


def test_what_fails_afterwards_keeps_nobody_waiting() -> None:
    def fails() -> None:
        raise ValueError("a test")

    own: SingleFlight[str, int] = SingleFlight(TurnQueue("turn", 1), lambda _: (1, fails))
    for _ in range(2):
        assert submit(own).get(timeout=30) == ((1,), None)
