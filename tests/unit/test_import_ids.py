"""What an imported message is called depends on itself alone, and what is there is found again."""

import io
from collections.abc import Iterable
from importlib.resources import files
from itertools import groupby, islice
from typing import Any

import msgspec
import pytest

from jobs.transfer.formats import chitchat, jsonl
from jobs.transfer.formats.settling import PLACES, TAIL_BITS, Settlement, spans
from jobs.transfer.formats.source import Item, Minted, RefusedLine, time_us_from
from models import codec, ids
from models.appends import Held
from models.message import Message

NOW_US = time_us_from("2026-01-01T00:00:00Z")
EVERY = 20
MOMENT = "2020-01-01T00:00:00Z"


def row(content: str, **fields: object) -> dict[str, object]:
    named = {"thread_id": "t", "user_id": "u", "content": content, "created_at": MOMENT} | fields
    return {name: value for name, value in named.items() if value is not None}


def items(*rows: dict[str, object]) -> list[Item]:
    stream = io.BytesIO(b"\n".join(map(msgspec.json.encode, rows)))
    return list(jsonl.source(stream, clock_ns=lambda: NOW_US * 1000))


def settled(some: Iterable[Item], there: Iterable[Message] = ()) -> list[Any]:
    held = [Held(one.user_id, one.thread_id, one.id) for one in there]
    return list(map(Settlement(held).settle, some))


def contents(messages: Iterable[Message]) -> list[str]:
    """What a reader sees: by id, each once."""
    return [one.content for one in sorted({one.id: one for one in messages}.values(), key=_id)]


def _id(message: Message) -> str:
    return message.id


@pytest.mark.parametrize("named", [True, False], ids=["with ids", "without"])
def test_files_that_overlap_agree_on_what_they_share(named: bool) -> None:
    rows = [row(f"m{number}", id=f"src-{number}" if named else None) for number in range(6)]
    first = settled(items(*rows[:4]))
    second = settled(items(*rows[2:]), first)
    assert second[:2] == first[2:]
    assert contents(first + second) == [f"m{number}" for number in range(6)]


def test_what_stands_before_a_message_does_not_move_it() -> None:
    days = [row(f"day {day}", created_at=f"2020-01-0{day}T12:00:00Z") for day in (5, 4, 3)]
    made = settled(items(*days))
    assert [one.created_at[:10] for one in made] == ["2020-01-05", "2020-01-04", "2020-01-03"]
    assert contents(made) == ["day 3", "day 4", "day 5"]
    assert {one.id for one in settled(items(*reversed(days)))} == {one.id for one in made}


def test_equal_lines_of_files_that_overlap_are_as_many_as_one_of_them_has() -> None:
    twice = [row("ok"), row("ok")]
    first = settled(items(*twice))
    assert len({one.id for one in first}) == 2
    again = settled(items(row("other"), *twice), first)
    assert again[1:] == first


def test_one_id_of_the_source_is_one_message() -> None:
    made = settled(items(row("one", id="1"), row("one", id="1"), row("two", id="1")))
    assert len({one.id for one in made}) == 1
    assert made[0] == made[1] != made[2]


# As the importer gave them when a message that was not later than the one before it was put a
# microsecond behind it.
EARLIER = [
    "016f5e66-e800-7fec-8009-10957b90e8e2",
    "016f5e66-e800-7fec-8014-5ca06956c85a",
    "016f5e66-e800-7fec-8023-7e7a8e1247d2",
    "016f5e66-e800-7fec-8033-9087c4b35311",
]
EARLIER_ROWS = [
    row("a", id="1"),
    row("b", id="2"),
    row("c", created_at=None),
    row("d", created_at="2019-12-31T00:00:00Z"),
]


def test_what_was_imported_under_ids_of_before_is_known_by_them() -> None:
    there = [Held("u", "t", name) for name in EARLIER]
    given = items(*EARLIER_ROWS)
    made = [Settlement(there).settle(one) for one in given]
    assert [one.id for one in made if isinstance(one, Message)] == EARLIER
    assert [codec.is_intact(one) for one in made if isinstance(one, Message)] == [True] * 4
    # They are looked for, too.
    wanted = spans([one for one in given if isinstance(one, Minted)])
    assert all(any(span.low <= name <= span.high for span in wanted) for name in EARLIER)
    # And in a file that begins later, as long as it is about the same second.
    (later,) = (Settlement(there).settle(one) for one in items(EARLIER_ROWS[1]))
    assert isinstance(later, Message)
    assert later.id == EARLIER[1]


def test_a_conversation_imported_under_ids_of_before_is_known_by_them() -> None:
    said = [{"text": text, "timestamp": MOMENT, "sender": "ann"} for text in "ab"]
    source = chitchat.source({"c": {"messages": [said]}}, clock_ns=lambda: NOW_US * 1000)
    earlier = ["016f5e66-e800-7ba7-800d-21907d4a7985", "016f5e66-e800-7ba7-801b-36f3a6fbc916"]
    there = Settlement([Held("ann", "c", name) for name in earlier])
    made = [there.settle(one) for one in source]
    assert [one.id for one in made if isinstance(one, Message)] == earlier


def test_a_moment_that_is_full_is_said_to_be() -> None:
    (item,) = items(row("one too many"))
    assert isinstance(item, Minted)
    last = ids.mint(
        time_us_from(MOMENT), ids.shard_of("u", "t"), (PLACES - 1 << TAIL_BITS) | 12_345
    )
    refusal = Settlement([Held("u", "t", last)]).settle(item)
    assert isinstance(refusal, RefusedLine)
    assert refusal.where == "line 1"
    assert "262,144 messages of the same time" in refusal.reason


def test_real_conversations_keep_every_time_and_all_orders() -> None:
    data = files("chitchat_dataset").joinpath("dataset.json").read_bytes()
    conversations = dict(islice(chitchat.read(data).items(), 0, None, EVERY))
    settlement = Settlement([])
    made = list(map(settlement.settle, chitchat.source(conversations)))
    said = [
        (one["sender"], name, one["timestamp"].replace("Z", ".000000Z"), one["text"])
        for name, conversation in conversations.items()
        for turn in conversation["messages"]
        for one in turn
    ]
    assert len(made) == len(said) > 10_000
    messages = [one for one in made if isinstance(one, Message)]
    found = [(one.user_id, one.thread_id, one.created_at, one.content) for one in messages]
    assert found == said
    assert len({one.id for one in messages}) == len(said)
    # Sorted by ids, each thread is sorted by times, and within a time as it stood.
    places = {one.id: number for number, one in enumerate(messages)}
    by_thread = sorted(messages, key=lambda one: (one.user_id, one.thread_id, one.id))
    for _, thread in groupby(by_thread, key=lambda one: (one.user_id, one.thread_id)):
        listed = [(one.created_at, places[one.id]) for one in thread]
        assert listed == sorted(listed)
