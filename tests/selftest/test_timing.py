"""Late and lost answers are named, unless a web process took them with it; sequences repeat."""

import itertools
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from selftest.faults.disturbance import KINDS, kind, sequence
from selftest.faults.episodes import Episode
from selftest.load.samples import RequestSample, during, figures, judge_times, times_not_judged
from selftest.record.client import Outcome
from selftest.record.findings import Invariant, Violation
from selftest.record.stalls import STALL_SECONDS, Stalls

Span = tuple[float, float]
WATCHER = """
import threading
from selftest.record.stalls import Stalls
stalls, over = Stalls(), threading.Event()
watcher = threading.Thread(target=stalls.watch, args=(over,))
watcher.start()
print("watches", flush=True)
input()
over.set()
watcher.join()
print(stalls.seconds_within(0, float("inf")))
"""


def sample(
    seconds: float = 0.01, outcome: Outcome = "answered", status: int = 200, began: float = 100.0
) -> RequestSample:
    return RequestSample(
        verb="create",
        outcome=outcome,
        status=status if outcome == "answered" else 0,
        tier_used="redis" if status == 200 and outcome == "answered" else "",
        connected=began,
        began=began,
        ended=began + seconds,
    )


def judged(samples: list[RequestSample], episodes: list[Episode], *stalls: Span) -> list[Violation]:
    stalled = Stalls()
    for began, ended in stalls:
        stalled.note(began, ended)
    return judge_times(samples, episodes, stalled)


def episode(
    target: str, began: float = 99.0, ended: float = 103.0, what: str = "frozen"
) -> Episode:
    return Episode(name=f"{target} {what}", target=target, began=began, ended=ended)


@pytest.mark.parametrize(
    "wrong",
    [
        sample(5.2),
        sample(5.2, status=503),
        sample(8.0, outcome="timeout"),
        sample(outcome="cut"),
        sample(outcome="refused"),
    ],
)
def test_a_late_or_lost_answer_is_named_unless_the_web_process_was_gone(
    wrong: RequestSample,
) -> None:
    for episodes in ([], [episode("postgres")], [episode("web", 50.0, 60.0)]):
        (violation,) = judged([sample(), wrong], episodes)
        assert violation.invariant == Invariant.IN_TIME
    assert judged([sample(), wrong], [episode("web")]) == []


def test_an_answer_within_five_seconds_is_in_time() -> None:
    assert judged([sample(4.9), sample(4.9, status=503)], []) == []


def test_what_a_machine_that_stalled_made_late_is_not_late() -> None:
    late = sample(5.5)
    assert judged([late], [], (101.0, 101.3), (101.2, 101.6)) == []
    # Not long enough, twice the same, not meanwhile, and nothing that a machine may do.
    assert judged([late], [], (101.0, 101.3), (101.1, 101.2)) != []
    assert judged([late], [], (90.0, 100.1), (105.4, 120.0)) != []
    assert judged([late], [], *[(101 + n / 10, 101.09 + n / 10) for n in range(20)]) != []
    assert judged([sample(8.0, outcome="timeout")], [], (101.0, 107.0)) != []


def test_where_the_machine_kept_everybody_waiting_it_says_so_instead() -> None:
    late, stalls = sample(5.2), Stalls()
    for wake in range(100):
        stalls.note_late(100.0 + wake / 20, 100.004 + wake / 20)
    assert judge_times([late], [], stalls) != []
    assert times_not_judged([late], [], stalls) == []
    for wake in range(100):
        stalls.note_late(100.0 + wake / 20, 100.01 + wake / 20)
    assert judge_times([late], [], stalls) == []
    (unsure,) = times_not_judged([sample(), late], [], stalls)
    assert unsure.invariant == Invariant.IN_TIME
    assert unsure.evidence["machine_seconds"] == pytest.approx(1.0)
    # What is far too late is late on any machine, and what has no answer is none.
    later, silent = sample(6.5), sample(8.0, outcome="timeout")
    assert len(judge_times([later, silent], [], stalls)) == 2
    assert times_not_judged([later, silent, sample(4.9)], [], stalls) == []


def test_what_is_brief_and_took_long_is_seen() -> None:
    stalls = Stalls()
    began = time.monotonic()
    with stalls.brief():
        time.sleep(STALL_SECONDS * 1.5)
    assert stalls.seconds_within(began, time.monotonic()) >= STALL_SECONDS * 1.5
    assert stalls.seconds_within(began - 10, began) == 0


def test_a_process_that_was_stopped_saw_that_its_thread_woke_late() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "watches\n"
        watcher.send_signal(signal.SIGSTOP)
        time.sleep(STALL_SECONDS * 5)
        watcher.send_signal(signal.SIGCONT)
        said, _ = watcher.communicate("\n", timeout=60)
    assert float(said) >= STALL_SECONDS * 4


def later(outcome: Outcome, seconds: float) -> RequestSample:
    """A request at 110 s on a connection that was made at 90 s."""
    made = sample(seconds, outcome, began=110.0)
    return msgspec.structs.replace(made, connected=90.0)


def test_a_connection_that_a_killed_process_left_behind_is_no_violation() -> None:
    left = later("cut", 0.01)
    assert judged([left], [episode("web", what="killed")]) == []
    assert judged([left], [episode("web", 80.0, 89.0, "killed")]) != []
    assert judged([left], [episode("web")]) != []


@pytest.mark.parametrize("outcome", ["answered", "timeout"])
def test_what_comes_late_after_the_web_process_is_back_is_a_violation(outcome: Outcome) -> None:
    for what in ("killed", "frozen"):
        assert judged([later(outcome, 6.0)], [episode("web", what=what)]) != []


def test_figures_tell_acknowledged_from_refused_from_silent() -> None:
    found = figures([sample(), sample(1.0, status=503), sample(outcome="cut"), sample()])
    assert found.acknowledged == {"redis": 2}
    assert (found.unavailable, found.unanswered, found.slowest_ms) == (1, 1, 1000.0)
    assert figures([]).slowest_ms == 0.0


def test_only_what_overlaps_counts_as_meanwhile() -> None:
    overlapping, before, after = sample(2.0), sample(began=90.0), sample(began=110.0)
    assert during([overlapping, before, after], 101.0, 105.0) == [overlapping]


def test_the_same_seed_gives_the_same_disturbances() -> None:
    first, again, other = (list(itertools.islice(sequence(seed), 60)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_every_kind_comes_once_before_any_comes_twice_and_never_two_of_one_target() -> None:
    steps = list(itertools.islice(sequence(3), 60))
    names = [disturbance.name for step in steps for disturbance, _ in step.parts]
    assert sorted(names[: len(KINDS)]) == sorted(each.name for each in KINDS)
    assert any(len(step.parts) == 2 for step in steps)
    for step in steps:
        targets = [disturbance.target for disturbance, _ in step.parts]
        assert len(targets) <= 2
        assert len(set(targets)) == len(targets)


def test_kinds_are_found_by_name() -> None:
    assert {kind(each.name) for each in KINDS} == set(KINDS)
    with pytest.raises(KeyError):
        kind("the moon gone")
