"""What one client was told, and whether that is what it should have been told.

A client is one listener, however often its connection was cut: what it was told counts as one
list. Everything of its user that was acknowledged must be in it, once and in order, and nothing
of anybody else's. Nothing here knows of connections, so that each fault can be put in by a test.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_ID = re.compile(r"(?:(\d+)-(\d+))?([.~]\d+)?")
"""A place, a mark for what is no event of the stream, or both."""

_CONFIRMATIONS = ("message_confirmed", "message_repeated")

Place = tuple[int, int]


class Told(NamedTuple):
    """One frame as it came: `at` by the monotonic clock, empty what the frame did not have.

    `type` is the frame's, but for two: `message_repeated` is a confirmation that says so itself,
    and `read` a message that was found over HTTP after a reset. Each connection begins with
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
    """One thing that is not as it should be."""

    fault: str
    client: int
    what: str


def faults_of(
    client: int,
    user_id: str,
    told: Sequence[Told],
    own: Iterable[SentMessage],
    written: Mapping[str, SentMessage],
) -> list[Anomaly]:
    """What is wrong with one client's history: `missed`, `doubled`, `disordered`, `foreign`.

    `own` is what its user wrote, `written` what everybody wrote, by message id.
    """
    wrong = [*_foreign(user_id, told, written), *_doubled(told), *_disordered(told)]
    wrong += [*_late_confirmed(told), *_missed(client, told, own)]
    return [Anomaly(fault, client, what) for fault, what in wrong]


def _foreign(
    user_id: str, told: Sequence[Told], written: Mapping[str, SentMessage]
) -> Iterable[tuple[str, str]]:
    for one in told:
        author = written.get(one.message_id)
        owners = {one.user_id, author.user_id if author else ""}
        if owners - {"", user_id}:
            yield "foreign", f"{one.type} {one.event_id} of {sorted(owners)}"


def _doubled(told: Sequence[Told]) -> Iterable[tuple[str, str]]:
    """An event id that came twice, or a message that was told of twice."""
    ids: set[str] = set()
    messages: set[tuple[str, str]] = set()
    for one in told:
        if one.type == "read":
            continue
        if one.type == "authenticated":
            # Only events keep their ids from connection to connection.
            ids = {known for known in ids if _is_event(known)}
        if one.event_id in ids:
            yield "doubled", f"{one.type} {one.event_id}"
        elif one.message_id and (one.type, one.message_id) in messages:
            yield "doubled", f"{one.type} of {one.message_id} as {one.event_id}"
        ids.add(one.event_id)
        messages.add((one.type, one.message_id))


def _is_event(event_id: str) -> bool:
    found = _ID.fullmatch(event_id)
    return found is not None and found[3] is None


def _disordered(told: Sequence[Told]) -> Iterable[tuple[str, str]]:
    """An event that came behind a later one, or a place behind which something was told already."""
    newest: Place = (0, 0)
    for one in told:
        if one.type in ("read", "authenticated"):
            # Where the stream is when somebody comes says nothing of what was told before.
            continue
        found = _ID.fullmatch(one.event_id)
        if not found or not one.event_id:
            yield "disordered", f"{one.type} has the id {one.event_id!r}"
            continue
        if found[1] is None:
            # It came while nobody could say where the stream is.
            continue
        place, is_event = (int(found[1]), int(found[2])), found[3] is None
        if one.type == "reset":
            # It may begin anew. Where it is ahead, a client that has asked for an earlier place
            # already is heard after it.
            newest = min(newest, place)
        elif place < newest:
            yield "disordered", f"{one.type} {one.event_id} behind {newest[0]}-{newest[1]}"
        elif is_event:
            newest = place


def _late_confirmed(told: Sequence[Told]) -> Iterable[tuple[str, str]]:
    """What was told of a client's own message on the connection that it was sent on: before the
    confirmation nothing, and behind it not that it was received."""
    heard: set[str] = set()
    confirmed: set[str] = set()
    for one in told:
        if one.type == "authenticated":
            heard.clear()
            confirmed.clear()
        elif one.type == "message_confirmed":
            confirmed.add(one.message_id)
            if one.message_id in heard:
                yield "disordered", f"{one.message_id} was confirmed behind its events"
        elif one.type != "read":
            heard.add(one.message_id)
            if one.type == "message_received" and one.message_id in confirmed:
                yield "doubled", f"message_received of {one.message_id}, which was confirmed"


def _missed(
    client: int, told: Sequence[Told], own: Iterable[SentMessage]
) -> Iterable[tuple[str, str]]:
    read = {one.message_id for one in told if one.type == "read"}
    known = {(one.type, one.message_id) for one in told}
    for one in own:
        message_id = one.message_id
        if message_id in read:
            continue
        if one.sender == client:
            # Whoever was cut off before the answer may learn of its own message like the others.
            is_told = bool(known & {(name, message_id) for name in _CONFIRMATIONS})
        else:
            is_told = ("message_received", message_id) in known
        if not is_told:
            yield "missed", f"message_received of {message_id}"
        if ("message_persisted", message_id) not in known:
            yield "missed", f"message_persisted of {message_id}"
