"""Sources of history: every message comes out sealed and in order, or is refused by name."""

import io
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transfer.formats import jsonl, thread_lines
from jobs.transfer.formats.settling import Settlement
from jobs.transfer.formats.source import Item, RefusedLine, time_us_from
from models import codec, ids
from models.message import InvalidMessage, Message, Thread
from support.data.samples import METADATA, TEXTS, message, revised

NOW_US = time_us_from("2026-01-01T00:00:00Z")
LATER = "2020-01-01T00:00:01Z"


def lines(*rows: object) -> io.BytesIO:
    """JSON Lines of objects; bytes stand for themselves."""
    return io.BytesIO(
        b"\n".join(row if isinstance(row, bytes) else msgspec.json.encode(row) for row in rows)
    )


def read(stream: io.BytesIO, user: str | None = None, time: str | None = None) -> list[Any]:
    defaults = jsonl.Defaults(user, time_us_from(time) if time else None)
    return settled(jsonl.source(stream, defaults, clock_ns=lambda: NOW_US * 1000))


def row(**fields: object) -> dict[str, object]:
    return {
        "thread_id": "t",
        "user_id": "u",
        "content": "hello",
        "created_at": "2020-01-01T00:00:00Z",
    } | fields


def settled(items: Iterable[Item]) -> list[Any]:
    """What becomes of items where nothing is there yet."""
    return list(map(Settlement([]).settle, items))


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
    assert isinstance(refusal, RefusedLine)
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
def test_each_message_keeps_its_time_and_the_order_of_the_source_within_it(
    seconds: list[int],
) -> None:
    rows = [
        row(content="same", metadata={"number": number}, created_at=f"2020-01-01T00:00:0{second}Z")
        for number, second in enumerate(seconds)
    ]
    made = read(lines(*rows))
    assert [one.created_at[18:20] for one in made] == [f"{second}." for second in seconds]
    assert all(ids.timestamp(ids.time_us_of(one.id)) == one.created_at for one in made)
    listed = [one.metadata["number"] for one in sorted(made, key=lambda one: one.id)]
    assert listed == sorted(range(len(seconds)), key=lambda number: (seconds[number], number))


@given(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=9), st.randoms())
def test_equal_lines_stay_as_many_as_there_are_wherever_they_stand(
    texts: list[str], random: Any
) -> None:
    rows = [row(content=text) for text in texts] + [row(content="between", created_at=LATER)]
    made = read(lines(*rows))
    assert len({one.id for one in made}) == len(rows)
    random.shuffle(rows)
    again = read(lines(*rows))
    tails = [
        sorted(one.id[:18] + one.id[-8:] + one.content for one in some) for some in (made, again)
    ]
    assert tails[0] == tails[1]


def test_messages_of_one_second_keep_their_second() -> None:
    made = read(lines(*[row(content=str(number)) for number in range(3)]))
    assert {one.created_at for one in made} == {"2020-01-01T00:00:00.000000Z"}
    assert [one.content for one in sorted(made, key=lambda one: one.id)] == ["0", "1", "2"]


def test_one_time_in_two_threads_is_kept_in_both() -> None:
    made = read(lines(row(), row(thread_id="other"), row(user_id="other")))
    assert {one.created_at for one in made} == {"2020-01-01T00:00:00.000000Z"}
    assert len({one.id for one in made}) == 3


def test_an_empty_text_of_history_is_kept() -> None:
    assert [one.content for one in read(lines(row(content="")))] == [""]


def test_a_line_without_a_time_has_that_of_the_one_before() -> None:
    timeless = row()
    del timeless["created_at"]
    first, second = read(lines(row(), timeless))
    assert second.created_at == first.created_at
    assert second.id > first.id
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
        (b'{"thread_id": "t", "user_id": "u", "contents": "\\ud83d\\ude00"}', "contents"),
        (b'{"a":' * 100_000, "shape"),
        (b'{"thread_id":"t","metadata":' + b'{"a":' * 100_000, "too deeply"),
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
        (row(created_at="2016-12-31T23:59:60Z"), "leap second"),
        (b'{"thread_id": "t"} {}', "not JSON: JSON is malformed: trailing characters"),
        (row(created_at="1969-12-31T23:59:59Z"), "1970"),
        (row(created_at="2026-01-02T00:00:01Z"), "a day ahead"),
        (row(deleted_at="2020-01-01T00:00:00Z"), "deleted"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_refused_and_the_import_goes_on(line: object, reason: str) -> None:
    refusal, after = read(lines(line, row()))
    assert isinstance(refusal, RefusedLine)
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


def test_a_line_can_be_a_thread() -> None:
    own = {"id": "t", "title": "title", "metadata": {"a": 1}, "created_at": "2020-01-01t00:00:00z"}
    (thread,) = read(lines(b" " + msgspec.json.encode({"thread": own})), user="u")
    assert isinstance(thread, Thread)
    assert (thread.user_id, thread.id, thread.title, thread.version) == ("u", "t", "title", 1)
    assert thread.created_at == thread.updated_at == "2020-01-01T00:00:00.000000Z"
    assert read(lines(thread_lines.encode(thread))) == [thread]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "a thread"}, "thread id"),
        ({"user_id": None}, "--user"),
        ({"titel": "misspelt"}, "titel"),
        ({"title": "x" * 2_000}, "title"),
        ({"title": "\0"}, "U+0000"),
        ({"created_at": "1969-01-01T00:00:00Z"}, "1970"),
        ({"created_at": None}, "created_at"),
        ({"version": 0}, "version"),
    ],
)
def test_a_thread_that_cannot_be_kept_is_refused(change: dict[str, Any], reason: str) -> None:
    own = {"id": "t", "user_id": "u", "created_at": "2020-01-01T00:00:00Z"} | change
    (refusal,) = read(lines({"thread": own}))
    assert isinstance(refusal, RefusedLine)
    assert reason in refusal.reason
