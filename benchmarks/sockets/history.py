"""The frames that one client received, and what is wrong with them.

A client is one listener, however often its connection was cut: its frames are one list. It must
have everything acknowledged of its user, once and in order, and nothing of other users. Nothing
here knows of connections, so that a test can insert each fault.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_ID = re.compile(r"(?:(\d+)-(\d+))?([.~]\d+)?")
"""A cursor, a mark for a frame that is no event of the stream, or both."""

_CONFIRMATIONS = ("message_confirmed", "message_repeated")

Cursor = tuple[int, int]


class HistoryFrame(NamedTuple):
    """One received frame: `at` by the monotonic clock; members that it did not have are empty.

    `type` is the frame's, except for two: `message_repeated` is a confirmation with `repeated`,
    and `read` a message that was read over HTTP after a reset. Each connection begins with
    `authenticated`.
    """

    type: str
    event_id: str
    message_id: str
    user_id: str
    at: float


class SentMessage(NamedTuple):
    """One acknowledged message: who sent it, by which client's socket or none if over HTTP, and
    when it was sent and acknowledged by the monotonic clock."""

    message_id: str
    user_id: str
    sender: int | None
    sent_at: float
    acknowledged_at: float


class Anomaly(NamedTuple):
    """One thing that is wrong."""

    fault: str
    client: int
    what: str


def faults_of(
    client: int,
    user_id: str,
    history: Sequence[HistoryFrame],
    own: Iterable[SentMessage],
    written: Mapping[str, SentMessage],
) -> list[Anomaly]:
    """What is wrong with one client's history: `missed`, `doubled`, `disordered`, `foreign`.

    `own` is what its user wrote, `written` what everybody wrote, by message id.
    """
    wrong = [*_foreign(user_id, history, written), *_doubled(history), *_disordered(history)]
    wrong += [*_late_confirmed(history), *_missed(client, history, own)]
    return [Anomaly(fault, client, what) for fault, what in wrong]


def _foreign(
    user_id: str, history: Sequence[HistoryFrame], written: Mapping[str, SentMessage]
) -> Iterable[tuple[str, str]]:
    for one in history:
        author = written.get(one.message_id)
        owners = {one.user_id, author.user_id if author else ""}
        if owners - {"", user_id}:
            yield "foreign", f"{one.type} {one.event_id} of {sorted(owners)}"


def _doubled(history: Sequence[HistoryFrame]) -> Iterable[tuple[str, str]]:
    """Event ids that came twice, and messages that were received twice."""
    ids: set[str] = set()
    messages: set[tuple[str, str]] = set()
    for one in history:
        if one.type == "read":
            continue
        if one.type == "authenticated":
            # Only events keep their ids from connection to connection.
            ids = {seen_events for seen_events in ids if _is_event(seen_events)}
        if one.event_id in ids:
            yield "doubled", f"{one.type} {one.event_id}"
        elif one.message_id and (one.type, one.message_id) in messages:
            yield "doubled", f"{one.type} of {one.message_id} as {one.event_id}"
        ids.add(one.event_id)
        messages.add((one.type, one.message_id))


def _is_event(event_id: str) -> bool:
    found = _ID.fullmatch(event_id)
    return found is not None and found[3] is None


def _disordered(history: Sequence[HistoryFrame]) -> Iterable[tuple[str, str]]:
    """Events that came after a later one, and cursors before an event that was received already."""
    newest: Cursor = (0, 0)
    for one in history:
        if one.type in ("read", "authenticated"):
            # The cursor at a connect says nothing about events received before.
            continue
        found = _ID.fullmatch(one.event_id)
        if not found or not one.event_id:
            yield "disordered", f"{one.type} has the id {one.event_id!r}"
            continue
        if found[1] is None:
            # It came while Redis was down.
            continue
        cursor, is_event = (int(found[1]), int(found[2])), found[3] is None
        if one.type == "reset":
            # It may begin anew. Where it is ahead, a client that has asked for an earlier cursor
            # already is seen after it.
            newest = min(newest, cursor)
        elif cursor < newest:
            yield "disordered", f"{one.type} {one.event_id} behind {newest[0]}-{newest[1]}"
        elif is_event:
            newest = cursor


def _late_confirmed(history: Sequence[HistoryFrame]) -> Iterable[tuple[str, str]]:
    """Wrong frames of a client's own message on the connection that sent it: any before the
    confirmation, and a `message_received` after it."""
    seen: set[str] = set()
    confirmed: set[str] = set()
    for one in history:
        if one.type == "authenticated":
            seen.clear()
            confirmed.clear()
        elif one.type == "message_confirmed":
            confirmed.add(one.message_id)
            if one.message_id in seen:
                yield "disordered", f"{one.message_id} was confirmed after its events"
        elif one.type != "read":
            seen.add(one.message_id)
            if one.type == "message_received" and one.message_id in confirmed:
                yield "doubled", f"message_received of {one.message_id}, which was confirmed"


def _missed(
    client: int, history: Sequence[HistoryFrame], own: Iterable[SentMessage]
) -> Iterable[tuple[str, str]]:
    read = {one.message_id for one in history if one.type == "read"}
    seen_events = {(one.type, one.message_id) for one in history}
    for one in own:
        message_id = one.message_id
        if message_id in read:
            continue
        if one.sender == client:
            # A client cut off before the answer may receive its own message like the others.
            is_received = bool(seen_events & {(name, message_id) for name in _CONFIRMATIONS})
        else:
            is_received = ("message_received", message_id) in seen_events
        if not is_received:
            yield "missed", f"message_received of {message_id}"
        if ("message_persisted", message_id) not in seen_events:
            yield "missed", f"message_persisted of {message_id}"
