"""The parts of a socket that need nothing else: bytes of frames, cursors, and shapes."""

import json

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from models import codec, ids
from models.events import Event
from models.message import Message
from webapp.http.errors import BadRequest
from webapp.realtime.frames import EventFrame, frame, of_event
from webapp.realtime.protocol import (
    NO_CURSOR,
    Ping,
    SendMessage,
    Subscribe,
    client_ref_in,
    cursor_in,
    decode_frame,
    position,
)

MOMENT = "2026-11-21T12:00:00.000000Z"
MESSAGE = codec.seal(
    Message(
        version=1,
        id=ids.mint(1_763_726_692_123_000, 7),
        thread_id="t",
        user_id="u",
        role="user",
        content="line \u2028 \r\n end",
        metadata={},
        created_at=MOMENT,
        updated_at=MOMENT,
    )
)


def event(kind: str, **changes: object) -> Event:
    made = Event(
        id="1763726692123-4",
        type="message_received",
        user_id="u",
        thread_id="t",
        message_id=MESSAGE.id,
        version=1,
        record=codec.encode(MESSAGE),
        is_late=False,
    )
    return made._replace(type=kind, **changes)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 500_000])
def test_a_text_frame_is_what_any_client_reads(size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(EventFrame("x", "", b"a" * size).text)
    parts = list(client.events())
    assert all(isinstance(part, TextMessage) for part in parts)
    assert "".join(part.data for part in parts) == "a" * size
    assert parts[-1].message_finished


def test_an_event_is_three_lines_of_a_stream_whatever_is_in_it() -> None:
    told = of_event(event("message_received"))
    head, name, data, *rest = told.lines.split(b"\n")
    assert (head, name, rest) == (b"id: 1763726692123-4", b"event: message_received", [b"", b""])
    assert json.loads(data.removeprefix(b"data: "))["message"]["content"] == MESSAGE.content


def test_an_event_carries_what_the_contract_says() -> None:
    received = json.loads(of_event(event("message_received")).payload)
    assert received["message"] == json.loads(codec.encode(MESSAGE))
    assert received["event_id"] == "1763726692123-4"
    assert received["timestamp"] == "2025-11-21T12:04:52.123000Z"
    persisted = json.loads(of_event(event("message_persisted", record=None)).payload)
    assert "message" not in persisted
    assert persisted["tier_used"] == "postgresql"
    deleted = json.loads(of_event(event("message_deleted", version=3)).payload)
    assert (deleted["version"], "message" in deleted) == (3, False)
    chunk = event("message_chunk", record=b'{"message_id":"m","offset":3,"text":"ab"}')
    assert json.loads(of_event(chunk).payload) == {
        "type": "message_chunk",
        "event_id": "1763726692123-4",
        "message_id": "m",
        "offset": 3,
        "text": "ab",
    }


def test_what_is_not_there_is_left_out_and_false_is_not() -> None:
    made = json.loads(frame("x", "", a=None, b=False, c=0).payload)
    assert made == {"type": "x", "b": False, "c": 0}


@pytest.mark.parametrize(
    ("event_id", "cursor"),
    [
        ("1763726692123-4", "1763726692123-4"),
        ("1763726692123-4.17", "1763726692123-4"),
        ("1763726692123-4~17", NO_CURSOR),
        ("~3", NO_CURSOR),
        ("", NO_CURSOR),
        ("1-1-1", NO_CURSOR),
        ("١-٢", NO_CURSOR),
        (" 1-1", NO_CURSOR),
        ("1-1\n", NO_CURSOR),
        ("9" * 20 + "-1", NO_CURSOR),
    ],
)
def test_only_a_cursor_of_the_stream_is_a_cursor(event_id: str, cursor: str) -> None:
    assert cursor_in(event_id) == cursor


def test_cursors_are_in_the_order_of_their_numbers() -> None:
    cursors = ["10-10", "11-0", NO_CURSOR, "10-9", "9-10", "10-2"]
    in_order = [NO_CURSOR, "9-10", "10-2", "10-9", "10-10", "11-0"]
    assert sorted(cursors, key=position) == in_order


def test_what_clients_send_is_decoded_by_its_type() -> None:
    assert decode_frame(b'{"type": "ping"}') == Ping()
    assert decode_frame(b'{"type": "subscribe", "thread_ids": []}') == Subscribe(thread_ids=[])
    command = decode_frame(
        b'{"client_ref": 4, "message": "m", "type": "send_message", "thread_id": "t"}'
    )
    assert command == SendMessage(thread_id="t", message="m", client_ref=4)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        (b'{"client_ref": "a", "type": "x"}', "a"),
        (b'{"client_ref": 1}', 1),
        (b'{"client_ref": []}', None),
        (b'{"client_ref": "%s"}' % (b"a" * 257), None),
        (b"nonsense", None),
        (b"\xff", None),
    ],
)
def test_a_reference_is_found_where_nothing_else_is_understood(
    text: bytes, reference: object
) -> None:
    with pytest.raises(BadRequest):
        decode_frame(text)
    assert client_ref_in(text) == reference
