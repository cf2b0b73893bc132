"""Conversations of a dataset: each message comes out sealed and in order, or is refused by name."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from jobs.transfer.formats import chitchat
from jobs.transfer.formats.settling import Settlement
from jobs.transfer.formats.source import Item, RefusedLine, UnreadableSource, time_us_from
from models import codec

NOW_US = time_us_from("2026-01-01T00:00:00Z")


def said(text: object, moment: object = "2018-05-02T19:38:15Z", sender: object = "ann") -> Any:
    return {"text": text, "timestamp": moment, "sender": sender}


def chat(*turns: list[Any], name: str = "c", user: str | None = None) -> list[Any]:
    conversations = chitchat.read(json.dumps({name: {"messages": turns}}).encode())
    return settled(chitchat.source(conversations, user, clock_ns=lambda: NOW_US * 1000))


def settled(items: Iterable[Item]) -> list[Any]:
    """What becomes of items where nothing is there yet."""
    return list(map(Settlement([]).settle, items))


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
    assert {one.created_at[-10:] for one in made} == {"15.000000Z"}
    listed = sorted(made, key=lambda one: one.id)
    assert [one.content for one in listed if one.user_id == "ann"] == ["a", "b", "d"]


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
    assert isinstance(refusal, RefusedLine)
    assert refusal.where == "message 2 of 'c'"


def test_a_conversation_whose_name_is_no_thread_id_is_refused() -> None:
    assert [type(one) for one in chat([said("a"), said("b")], name="a b")] == [
        RefusedLine,
        RefusedLine,
    ]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"c": 1}', b'{"c": {"messages": [1]}}', b'{"c":' * 100_000]
)
def test_a_file_that_is_no_dataset_is_refused_as_a_whole(data: bytes) -> None:
    with pytest.raises(UnreadableSource):
        chitchat.read(data)
