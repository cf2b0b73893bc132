"""The checker of the live benchmark finds each fault that it is there for."""

import pytest

from benchmarks.sockets.history import HistoryFrame, SentMessage, faults_of

OWN, OTHER = "ann", "bob"
CLIENT = 7
WRITTEN = {
    one.message_id: one
    for one in (
        SentMessage("m1", OWN, None, 0.0, 0.1),
        SentMessage("m2", OWN, CLIENT, 1.0, 1.1),
        SentMessage("m3", OWN, CLIENT + 1, 2.0, 2.1),
        SentMessage("x1", OTHER, None, 0.5, 0.6),
    )
}


def frame(kind: str, event_id: str, message_id: str = "", user_id: str = "") -> HistoryFrame:
    return HistoryFrame(kind, event_id, message_id, user_id, 0.0)


GOOD = (
    frame("authenticated", "10-0.1"),
    frame("message_received", "11-0", "m1", OWN),
    frame("message_confirmed", "11-0.2", "m2"),
    frame("message_persisted", "12-0", "m1"),
    frame("message_received", "12-1", "m3", OWN),
    frame("message_persisted", "13-0", "m2"),
    frame("message_persisted", "13-1", "m3"),
)


def faults(*history: HistoryFrame) -> set[str]:
    own = [one for one in WRITTEN.values() if one.user_id == OWN]
    return {one.fault for one in faults_of(CLIENT, OWN, history, own, WRITTEN)}


def test_a_good_history_has_no_faults() -> None:
    assert faults(*GOOD) == set()


@pytest.mark.parametrize("left_out", range(1, len(GOOD)))
def test_each_event_that_is_missed_is_found(left_out: int) -> None:
    assert faults(*GOOD[:left_out], *GOOD[left_out + 1 :]) == {"missed"}


@pytest.mark.parametrize("at", range(1, len(GOOD)))
def test_each_frame_that_comes_twice_is_found(at: int) -> None:
    assert "doubled" in faults(*GOOD[: at + 1], *GOOD[at:])


def test_a_message_told_under_two_ids_is_found() -> None:
    assert faults(*GOOD, frame("message_received", "14-0", "m1", OWN)) == {"doubled"}


def test_events_out_of_order_are_found() -> None:
    assert faults(*GOOD[:5], GOOD[6], GOOD[5]) == {"disordered"}


def test_a_place_behind_what_was_told_already_is_found() -> None:
    assert faults(*GOOD, frame("pong", "12-0.3")) == {"disordered"}


@pytest.mark.parametrize(
    "foreign",
    [
        frame("message_received", "14-0", "x1", OTHER),
        frame("message_received", "14-0", "unheard", OTHER),
        frame("message_persisted", "14-0", "x1"),
    ],
)
def test_an_event_of_another_user_is_found(foreign: HistoryFrame) -> None:
    assert faults(*GOOD, foreign) == {"foreign"}


def test_a_sender_that_is_told_of_its_own_message_is_found() -> None:
    assert faults(*GOOD, frame("message_received", "14-0", "m2", OWN)) == {"doubled"}


def test_a_confirmation_behind_the_message_persisted_is_found() -> None:
    late = frame("message_confirmed", "13-1.2", "m2")
    assert faults(*GOOD[:2], *GOOD[3:], late) == {"disordered"}


def test_whoever_was_cut_off_may_be_told_of_its_own_message_and_ask_again() -> None:
    again = (
        frame("authenticated", "11-0.1"),
        frame("message_received", "11-1", "m2", OWN),
        frame("message_repeated", "11-1.2", "m2"),
    )
    assert faults(*GOOD[:2], *again, *GOOD[3:]) == set()


def test_what_was_read_after_a_reset_was_not_missed() -> None:
    after = (frame("authenticated", "14-0.1"), frame("reset", "14-0.2"))
    read = [frame("read", "", name) for name in ("m1", "m2", "m3")]
    assert faults(GOOD[0], *after, *read) == set()
    assert faults(GOOD[0], *after, *read[:2]) == {"missed"}


def test_after_a_reset_ids_may_begin_anew() -> None:
    after = (frame("authenticated", "5-0.1"), frame("reset", "5-0.2"))
    anew = frame("message_received", "6-0", "m9", OWN)
    assert faults(*GOOD, *after, anew) == set()
    assert faults(*GOOD, after[0], anew) == {"disordered"}


def test_what_was_told_while_the_stream_was_away_has_no_place() -> None:
    nowhere = (frame("authenticated", "~1"), frame("message_received", "~2", "m9", OWN))
    assert faults(*GOOD, *nowhere) == set()
    assert faults(*GOOD, frame("message_received", "", "m9", OWN)) == {"disordered"}
    assert faults(*GOOD, frame("message_received", "x", "m9", OWN)) == {"disordered"}
