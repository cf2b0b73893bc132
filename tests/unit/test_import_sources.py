"""Sources of history: every message comes out sealed and in order, or is refused by name."""

import io
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import codec, ids
from models.message import InvalidMessage, Message
from storage.importers import chitchat, jsonl
from storage.importers.source import Refusal, UnreadableSource, time_us_from
from support.samples import METADATA, TEXTS, message, revised

NOW_US = time_us_from("2026-01-01T00:00:00Z")


def lines(*rows: object) -> io.BytesIO:
    """JSON Lines of objects; bytes stand for themselves."""
    return io.BytesIO(
        b"\n".join(row if isinstance(row, bytes) else msgspec.json.encode(row) for row in rows)
    )


def read(stream: io.BytesIO, user: str | None = None, time: str | None = None) -> list[Any]:
    defaults = jsonl.Defaults(user, time_us_from(time) if time else None)
    return list(jsonl.source(stream, defaults, clock_ns=lambda: NOW_US * 1000).items)


def row(**fields: object) -> dict[str, object]:
    return {
        "thread_id": "t",
        "user_id": "u",
        "content": "hello",
        "created_at": "2020-01-01T00:00:00Z",
    } | fields


def said(text: object, moment: object = "2018-05-02T19:38:15Z", sender: object = "ann") -> Any:
    return {"text": text, "timestamp": moment, "sender": sender}


def chat(*turns: list[Any], name: str = "c", user: str | None = None) -> list[Any]:
    conversations = chitchat.read(json.dumps({name: {"messages": turns}}).encode())
    return list(chitchat.source(conversations, user, clock_ns=lambda: NOW_US * 1000).items)


def past(**fields: Any) -> Message:
    """A message of before the clock of these tests."""
    return message("u", time_us=NOW_US - 1_000_000, **fields)


@given(TEXTS, METADATA, st.integers(0, NOW_US), st.booleans())
def test_an_exported_version_comes_back_exactly(
    content: str, metadata: dict[str, Any], time_us: int, edited: bool
) -> None:
    before = message("u", content=content, metadata=metadata, time_us=time_us or 1)
    before = revised(before) if edited else before
    assert read(lines(codec.encode(before))) == [before]


def test_an_exported_tombstone_comes_back_exactly() -> None:
    tombstone = revised(past(), deleted=True)
    assert read(lines(codec.encode(tombstone))) == [tombstone]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"content": "another"}, "content_hash"),
        ({"role": "agent"}, "content_hash"),
        ({"version": 2}, "content_hash"),
        ({"metadata": None}, "not every field"),
        ({"id": "not-an-id"}, "not a message id"),
        ({"created_at": "2020-01-01T00:00:00.000000Z"}, "another time"),
        ({"thread_id": "another"}, "another thread"),
        ({"version": 0}, "shape"),
    ],
)
def test_a_line_that_was_tampered_with_is_refused(change: dict[str, Any], reason: str) -> None:
    fields = msgspec.to_builtins(past()) | change
    (refusal,) = read(lines(fields))
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason


def test_a_time_that_postgresql_would_write_otherwise_is_refused() -> None:
    # The hash is right, and would be wrong once the time has been through PostgreSQL.
    crooked = codec.seal(msgspec.structs.replace(past(), updated_at="2020-01-01T00:00:00Z"))
    (refusal,) = read(lines(codec.encode(crooked)))
    assert "six digits" in refusal.reason


def test_an_export_given_to_another_user_becomes_their_own() -> None:
    (made,) = read(lines(codec.encode(past())), user="heir")
    assert made.user_id == "heir"
    assert made.id != past().id
    assert ids.shard_in(made.id) == ids.shard_of("heir", "t")
    assert codec.is_intact(made)


@given(TEXTS, METADATA, st.sampled_from(["content", "message"]))
def test_a_foreign_line_is_kept_as_it_is(text: str, metadata: dict[str, Any], field: str) -> None:
    fields = row(metadata=metadata, role="tool", **{field: text})
    if field == "message":
        del fields["content"]
    (made,) = read(lines(fields))
    assert (made.content, made.metadata, made.role) == (text, metadata, "tool")
    assert made.created_at == "2020-01-01T00:00:00.000000Z"
    assert codec.is_intact(made)


def test_importing_twice_gives_the_same_ids() -> None:
    rows = [row(content=text, id=name) for text, name in (("a", "1"), ("b", "2"), ("c", None))]
    assert read(lines(*rows)) == read(lines(*rows))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_ids_of_a_thread_strictly_rise_in_the_order_of_the_source(seconds: list[int]) -> None:
    rows = [row(content="same", created_at=f"2020-01-01T00:00:0{second}Z") for second in seconds]
    made = [one.id for one in read(lines(*rows))]
    assert made == sorted(set(made))
    assert len(made) == len(seconds)


def test_messages_of_one_second_keep_their_second() -> None:
    made = read(lines(*[row(content=str(number)) for number in range(3)]))
    assert [one.created_at for one in made] == [
        f"2020-01-01T00:00:00.00000{number}Z" for number in range(3)
    ]


def test_one_time_in_two_threads_is_kept_in_both() -> None:
    made = read(lines(row(), row(thread_id="other"), row(user_id="other")))
    assert {one.created_at for one in made} == {"2020-01-01T00:00:00.000000Z"}
    assert len({one.id for one in made}) == 3


def test_an_empty_text_of_history_is_kept() -> None:
    assert [one.content for one in read(lines(row(content="")))] == [""]


def test_a_line_without_a_time_follows_the_one_before() -> None:
    timeless = row()
    del timeless["created_at"]
    first, second = read(lines(row(), timeless))
    assert ids.time_us_of(second.id) == ids.time_us_of(first.id) + 1
    (refusal,) = read(lines(timeless))
    assert "--time" in refusal.reason
    (made,) = read(lines(timeless), time="2019-01-01T00:00:00Z")
    assert made.created_at == "2019-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "not JSON"),
        (b'{"thread_id": "t"', "not JSON"),
        (b"[1]", "shape"),
        (b"\xff", "not JSON"),
        (b'{"thread_id": "t", "content": "\xff"}', "not UTF-8"),
        (b'{"thread_id": "t", "user_id": "u", "content": "\\ud800"}', "surrogate"),
        (b'{"a":' * 100_000, "shape"),
        (b'{"thread_id":"t","metadata":' + b'{"a":' * 100_000, "not JSON"),
        (b"x" * (jsonl.MAX_LINE_BYTES + 1), "bytes"),
        (row(content="nul \0"), "U+0000"),
        (row(content="x" * 65_537), "65536 bytes"),
        (row(thread_id="a thread"), "thread id"),
        (row(user_id=""), "user id"),
        (row(user_id=None), "--user"),
        (row(role="boss"), "role"),
        (row(metadata={"k": "x" * 20_000}), "metadata"),
        (row(mesage="misspelt"), "mesage"),
        (row(message="both"), "not both"),
        (row(created_at="2020-01-01T00:00:00"), "zone"),
        (row(created_at="2020-02-30T00:00:00Z"), "does not exist"),
        (row(created_at="1969-12-31T23:59:59Z"), "1970"),
        (row(created_at="2026-01-02T00:00:01Z"), "a day ahead"),
        (row(deleted_at="2020-01-01T00:00:00Z"), "deleted"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_refused_and_the_import_goes_on(line: object, reason: str) -> None:
    refusal, after = read(lines(line, row()))
    assert isinstance(refusal, Refusal)
    assert refusal.where == "line 1"
    assert reason in refusal.reason
    assert isinstance(after, Message)


def test_empty_lines_and_a_byte_order_mark_are_passed_over() -> None:
    stream = io.BytesIO(b"\xef\xbb\xbf" + msgspec.json.encode(row()) + b"\r\n\r\n\n")
    assert [one.content for one in read(stream)] == ["hello"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2018-05-02T19:38:15Z", "2018-05-02T19:38:15.000000Z"),
        ("2018-05-02t19:38:15.1z", "2018-05-02T19:38:15.100000Z"),
        ("2018-05-02 19:38:15.123456789+02:00", "2018-05-02T17:38:15.123456Z"),
        ("2018-05-02T19:38:15-00:30", "2018-05-02T20:08:15.000000Z"),
    ],
)
def test_times_of_every_form_of_rfc_3339(text: str, moment: str) -> None:
    assert ids.timestamp(time_us_from(text)) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "1525289895", "2018-05-02", "2018-05-02T25:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessage):
        time_us_from(text)


def test_a_conversation_belongs_to_its_senders() -> None:
    made = chat([said("a"), said("b")], [said("c", sender="bob")], [said("d")])
    assert [(one.user_id, one.content) for one in made] == [
        ("ann", "a"),
        ("ann", "b"),
        ("bob", "c"),
        ("ann", "d"),
    ]
    assert {one.thread_id for one in made} == {"c"}
    assert {one.role for one in made} == {"user"}
    assert all(one.metadata == {} and codec.is_intact(one) for one in made)
    # Each thread has its own order; the times of one second are told apart within it.
    assert [one.created_at[-10:] for one in made] == [
        "15.000000Z",
        "15.000001Z",
        "15.000000Z",
        "15.000002Z",
    ]


def test_a_conversation_given_to_one_user_tells_who_speaks() -> None:
    made = chat([said("a"), said("b", sender="bob")], [said("c")], user="u")
    assert [one.user_id for one in made] == ["u"] * 3
    assert [one.role for one in made] == ["user", "assistant", "user"]
    assert [one.metadata for one in made] == [
        {"sender": "ann"},
        {"sender": "bob"},
        {"sender": "ann"},
    ]
    assert [one.id for one in made] == sorted(one.id for one in made)


def test_a_conversation_has_the_same_ids_every_time_and_others_for_each_owner() -> None:
    turns = [said("a"), said("b", sender="bob")]
    assert chat(turns) == chat(turns)
    owned = [chat(turns), chat(turns, user="u"), chat(turns, user="v")]
    assert len({one.id for made in owned for one in made}) == 6


@pytest.mark.parametrize(
    "bad",
    [
        said("\0"),
        said("\ud800"),
        said("x" * 65_537),
        said(None),
        said("a", 5),
        said("a", "never"),
        said("a", sender=None),
        said("a", sender="\ud800"),
        {},
        "text",
    ],
    ids=repr,
)
def test_a_bad_message_costs_a_conversation_only_itself(bad: object) -> None:
    before, refusal, after = chat([said(""), bad], [said("b")])
    assert (before.content, after.content) == ("", "b")
    assert isinstance(refusal, Refusal)
    assert refusal.where == "message 2 of 'c'"


def test_a_conversation_whose_name_is_no_thread_id_is_refused() -> None:
    assert [type(one) for one in chat([said("a"), said("b")], name="a b")] == [Refusal, Refusal]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"c": 1}', b'{"c": {"messages": [1]}}'])
def test_a_file_that_is_no_dataset_is_refused_as_a_whole(data: bytes) -> None:
    with pytest.raises(UnreadableSource):
        chitchat.read(data)
