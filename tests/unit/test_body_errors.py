"""An error of a body says which field is wrong, what was given, and what is allowed."""

from typing import Any

import msgspec
import pytest

from models.message import ROLES
from webapp.api.admin.consistency import CheckConsistency
from webapp.api.admin.disaster import InitiateDisasterRecovery
from webapp.api.states import PutSession
from webapp.http.body.reading import decode
from webapp.http.body.wrong_fields import MOST_CHARACTERS, MOST_NAMED
from webapp.http.errors import BadRequest
from webapp.http.schemas import AppendChunk, PatchThread, PostBatch, PostMessage
from webapp.realtime.protocol import ClientCommand

SECRET = "what nobody else may read"


def refusal(body: bytes, shape: Any, **where: str) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        decode(body, shape, **where)
    assert (caught.value.status, caught.value.code) == (422, "invalid_body")
    return caught.value


def errors(body: bytes, shape: Any, **where: str) -> list[dict[str, Any]]:
    """The machine-readable part, as a client reads it."""
    found: list[dict[str, Any]] = msgspec.to_builtins(refusal(body, shape, **where).errors)
    return found


def test_a_word_that_is_not_allowed_comes_with_those_that_are() -> None:
    wrong = refusal(b'{"message": "x", "role": "bot"}', PostMessage)
    (error,) = msgspec.to_builtins(wrong.errors)
    assert (error["field"], error["given"]) == ("$.role", "bot")
    assert sorted(error["allowed"]) == sorted(ROLES)
    assert all(role in str(wrong) for role in ROLES)
    assert '$.role is "bot"' in str(wrong)


@pytest.mark.parametrize(
    ("body", "shape", "field", "told"),
    [
        (b"{}", AppendChunk, "$.text", "$.text is missing, which must be text"),
        (b"[]", PostMessage, "$", "the body is a list of 0 items, and must be a JSON object"),
        (b'{"message": 1}', PostMessage, "$.message", "must be text or null"),
        (b'{"is_pinned": "yes"}', PatchThread, "$.is_pinned", '"yes", and must be true or false'),
        (b'{"messages": []}', PostBatch, "$.messages", "must be a list of 1 to 1000 items"),
        (b'{"scope": {"user_id": 1}}', CheckConsistency, "$.scope.user_id", "is a number"),
        (
            b'{"state": {}, "ttl_seconds": 0}',
            PutSession,
            "$.ttl_seconds",
            "is 0, and must be a whole number from 1 to 31536000 or null",
        ),
        (
            b'{"target_rto_seconds": 0}',
            InitiateDisasterRecovery,
            "$.target_rto_seconds",
            "is 0, and must be a number above 0 and up to 86400",
        ),
        (b'{"type": "ask"}', ClientCommand, "$.type", "authenticate, send_message, subscribe"),
        (b"{}", ClientCommand, "$.type", "$.type is missing"),
        (b'{"type": "ping", "client_ref": 1.5}', ClientCommand, "$.client_ref", "is 1.5, and"),
        (
            b'{"type": "subscribe", "thread_ids": ["a", 7]}',
            ClientCommand,
            "$.thread_ids[1]",
            "must be text",
        ),
    ],
)
def test_a_field_is_named_with_what_is_expected_of_it(
    body: bytes, shape: Any, field: str, told: str
) -> None:
    wrong = refusal(body, shape)
    assert [one.field for one in wrong.errors] == [field]
    assert told in str(wrong)
    assert str(wrong) == wrong.errors[0].detail


@pytest.mark.parametrize(
    ("body", "shape", "meant"),
    [
        (b'{"mesage": "x"}', PostMessage, "message"),
        (b'{"message": "x", "metdata": {}}', PostMessage, "metadata"),
        (b'{"scope": {"thread": "t"}}', CheckConsistency, "thread_id"),
        (b'{"type": "ping", "client_reff": "x"}', ClientCommand, "client_ref"),
    ],
)
def test_an_unknown_field_comes_with_the_one_that_is_meant(
    body: bytes, shape: Any, meant: str
) -> None:
    wrong = refusal(body, shape)
    assert f"did you mean {meant}" in str(wrong)
    assert meant in (wrong.errors[0].allowed or ())


def test_all_that_is_wrong_is_named_at_once() -> None:
    found = errors(b'{"rle": "x", "message": 1, "metadata": []}', PostMessage)
    assert [one["field"] for one in found] == ["$.rle", "$.message", "$.metadata"]


def test_a_body_with_no_end_of_mistakes_has_a_short_answer() -> None:
    body = msgspec.json.encode({f"{n}{'x' * 1_000}": n for n in range(10_000)})
    wrong = refusal(body, PostMessage)
    assert len(wrong.errors) == MOST_NAMED
    assert len(msgspec.json.encode(wrong.errors)) < 4_000


@pytest.mark.parametrize(
    ("wrong", "shape"),
    [
        ({"message": {"text": SECRET}}, PostMessage),
        ({"message": [SECRET]}, PostMessage),
        ({"message": "x", "metadata": SECRET}, PostMessage),
        ({"message": "x", "metadata": [SECRET]}, PostMessage),
        ({"message": SECRET, "rolle": "user"}, PostMessage),
        ({"text": SECRET}, PostMessage),
        ({"state": SECRET, "version": "one"}, PutSession),
        ({"type": "send_message", "thread_id": 1, "message": SECRET}, ClientCommand),
        ({"type": "authenticate", "token": [SECRET]}, ClientCommand),
        (SECRET, PostMessage),
    ],
)
def test_what_a_message_says_is_never_repeated(wrong: Any, shape: Any) -> None:
    refused = refusal(msgspec.json.encode(wrong), shape)
    assert SECRET not in str(refused) + msgspec.json.encode(refused.errors).decode()


def test_what_is_shown_is_cut_short() -> None:
    (error,) = errors(msgspec.json.encode({"message": "x", "role": "r" * 5_000}), PostMessage)
    assert len(error["given"]) == MOST_CHARACTERS


def test_the_place_is_that_in_the_whole_body() -> None:
    (error,) = errors(b'{"message": "x", "rle": 1}', PostMessage, at="$.messages[3]")
    assert error["field"] == "$.messages[3].rle"


@pytest.mark.parametrize(
    "rest", [b'"message": "\xff"}', b'"message": "x"', b'"a": ' + b"[" * 9_999]
)
def test_what_is_no_json_behind_the_mistake_is_a_mistake_all_the_same(rest: bytes) -> None:
    wrong = refusal(b'{"role": 1, ' + rest, PostMessage)
    assert "role" in str(wrong)
    assert len(str(wrong)) <= MOST_CHARACTERS or wrong.errors
