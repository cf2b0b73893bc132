"""Calls of many threads become few, what is large holds up nothing small, and nobody waits beyond
the time there is."""

import threading
from collections.abc import Callable, Sequence

import pytest

from storage.errors import TierUnavailable
from storage.resilience import budget
from storage.resilience.combiner import Combiner
from support.waiting import eventually

SMALL = 1_000
LARGE = budget.LARGE_BYTES + 1


class Server:
    """Notes what it is asked at once, and how many seconds it has; what is called `stuck` waits
    until the test lets go."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.seconds: list[float] = []
        self.let_go = threading.Event()

    def carry_out(self, asked: Sequence[str]) -> list[str]:
        self.calls.append(list(asked))
        self.seconds.append(budget.left())
        if "stuck" in asked:
            self.let_go.wait(30)
        return [f"{one} done" for one in asked]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def combiner(server: Server) -> Combiner[str, str]:
    return Combiner("redis", server.carry_out, 10 * SMALL)


def started(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def stuck(combiner: Combiner[str, str], server: Server, size: int = SMALL) -> threading.Thread:
    """Somebody whose call is under way."""
    thread = started(lambda: combiner.ask(["stuck"], size))
    eventually(lambda: server.calls)
    return thread


def waiting(combiner: Combiner[str, str], count: int) -> None:
    eventually(lambda: len(combiner._small.waiting) == count)


def test_what_comes_meanwhile_is_one_call(combiner: Combiner[str, str], server: Server) -> None:
    threads = [stuck(combiner, server)]
    for name in "abc":
        threads.append(started(lambda name=name: combiner.ask([name], SMALL)))
    waiting(combiner, 3)
    server.let_go.set()
    for thread in threads:
        thread.join(10)
    assert [sorted(call) for call in server.calls] == [["stuck"], ["a", "b", "c"]]


def test_one_call_has_no_more_bytes_than_it_may(
    combiner: Combiner[str, str], server: Server
) -> None:
    threads = [stuck(combiner, server)]
    for name in "abc":
        threads.append(started(lambda name=name: combiner.ask([name], 6 * SMALL)))
    waiting(combiner, 3)
    server.let_go.set()
    for thread in threads:
        thread.join(10)
    assert [len(call) for call in server.calls] == [1, 1, 1, 1]


def test_what_is_small_does_not_wait_behind_what_is_large(
    combiner: Combiner[str, str], server: Server
) -> None:
    large = stuck(combiner, server, LARGE)
    assert combiner.ask(["a"], SMALL) == ["a done"]
    server.let_go.set()
    large.join(10)


def test_nobody_waits_for_a_turn_beyond_the_time_there_is(
    combiner: Combiner[str, str], server: Server
) -> None:
    leader = stuck(combiner, server)
    with budget.within(0.1), pytest.raises(TierUnavailable) as refused:
        combiner.ask(["late"], SMALL)
    assert not refused.value.is_ambiguous
    server.let_go.set()
    leader.join(10)
    assert combiner.ask(["a"], SMALL) == ["a done"]
    assert server.calls == [["stuck"], ["a"]]


def test_what_is_under_way_when_the_time_is_over_may_have_happened(
    combiner: Combiner[str, str], server: Server
) -> None:
    first = stuck(combiner, server)
    errors: list[TierUnavailable] = []

    def hurried() -> None:
        with budget.within(1.0), pytest.raises(TierUnavailable) as refused:
            combiner.ask(["hurried"], SMALL)
        errors.append(refused.value)

    second = started(lambda: combiner.ask(["stuck"], SMALL))
    waiting(combiner, 1)
    third = started(hurried)
    waiting(combiner, 2)
    held, server.let_go = server.let_go, threading.Event()
    held.set()
    third.join(10)
    assert [error.is_ambiguous for error in errors] == [True]
    server.let_go.set()
    first.join(10)
    second.join(10)


def test_a_call_for_several_has_the_time_of_whoever_can_wait_longest(
    combiner: Combiner[str, str], server: Server
) -> None:
    first = stuck(combiner, server)

    def hurried() -> None:
        with budget.within(2.0):
            combiner.ask(["hurried"], SMALL)

    second = started(hurried)
    waiting(combiner, 1)
    third = started(lambda: combiner.ask(["patient"], SMALL))
    waiting(combiner, 2)
    server.let_go.set()
    for thread in (first, second, third):
        thread.join(10)
    assert server.calls == [["stuck"], ["hurried", "patient"]]
    assert [seconds > 2.0 for seconds in server.seconds] == [True, True]
    assert combiner.ask(["a"], SMALL) == ["a done"]
    with budget.within(0.5):
        combiner.ask(["b"], SMALL)
    assert server.seconds[-1] <= 0.5


def test_what_is_submitted_is_answered_in_another_thread(
    combiner: Combiner[str, str], server: Server
) -> None:
    came: list[tuple[Sequence[str], Exception | None, str]] = []

    def done(answers: Sequence[str], error: Exception | None) -> None:
        came.append((answers, error, threading.current_thread().name))

    combiner.submit(["a", "b"], SMALL, done)
    eventually(lambda: came)
    assert came == [(["a done", "b done"], None, "redis-small")]
    assert server.seconds[0] <= budget.REQUEST_SECONDS


def test_an_answer_that_cannot_be_given_keeps_no_other_from_its_own(
    combiner: Combiner[str, str],
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("nobody is there")

    combiner.submit(["a"], SMALL, broken)
    assert combiner.ask(["b"], SMALL) == ["b done"]


def test_what_a_call_raises_is_raised_for_each_that_asked() -> None:
    def refuse(_: Sequence[str]) -> list[str]:
        raise TierUnavailable("redis", "it is out")

    refusing: Combiner[str, str] = Combiner("redis", refuse, 10 * SMALL)
    for name in "ab":
        with pytest.raises(TierUnavailable):
            refusing.ask([name], SMALL)
