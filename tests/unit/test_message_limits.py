"""What may be in a message, at the edge of every limit of the contract."""

from collections.abc import Callable
from typing import Any

import pytest

from models import message as checks
from models.message import InvalidMessage
from models.state import check_new_run_id, check_run_id

UNKEEPABLE = ("\0", "a\0b", "\ud800", "\udfff", "\ud83d", "\udc00\ud800")


def nested(levels: int) -> dict[str, Any]:
    """An object that is so many levels deep, itself included."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def refused(code: str, check: Callable[[Any], None], value: Any) -> None:
    with pytest.raises(InvalidMessage) as caught:
        check(value)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "content",
    [
        "x",
        "\N{GRINNING FACE}",
        "x" * 65_536,
        "\u00e9" * 32_768,
        "\u20ac" * 21_845 + "x",
        "\N{GRINNING FACE}" * 16_384,
    ],
)
def test_content_of_1_to_65536_bytes_is_taken(content: str) -> None:
    checks.check_content(content)


@pytest.mark.parametrize(
    "content",
    [
        "x" * 65_537,
        "\u00e9" * 32_768 + "x",
        "\u20ac" * 21_845 + "xx",
        "\N{GRINNING FACE}" * 16_384 + "x",
        "x" * 10_000_000,
    ],
)
def test_content_of_65537_bytes_is_refused(content: str) -> None:
    refused("content_too_long", checks.check_content, content)


def test_empty_content_is_refused_but_beside_metadata() -> None:
    refused("content_empty", checks.check_content, "")
    refused("content_empty", lambda text: checks.check_content(text, {}), "")
    checks.check_content("", {"tool_calls": []})


@pytest.mark.parametrize("name", [".", ".."])
def test_no_new_thread_and_no_new_run_is_called_what_a_path_takes_for_a_folder(name: str) -> None:
    refused("thread_id_invalid", checks.check_new_thread_id, name)
    refused("run_id_invalid", check_new_run_id, name)
    # There may be some from before.
    checks.check_thread_id(name)
    check_run_id(name)
    checks.check_new_thread_id(f"{name}.a")
    check_new_run_id("...")


@pytest.mark.parametrize("text", UNKEEPABLE)
def test_what_postgresql_cannot_keep_is_refused_everywhere(text: str) -> None:
    for check in (
        checks.check_content,
        checks.check_title,
        checks.check_user_id,
        checks.check_idempotency_key,
    ):
        refused("text_unkeepable", check, text)
    for metadata in ({text: 1}, {"a": text}, {"a": [text]}, {"a": {"b": {text: None}}}):
        refused("text_unkeepable", checks.check_metadata, metadata)


def test_metadata_of_16_levels_is_taken_and_of_17_refused() -> None:
    checks.check_metadata(nested(16))
    refused("metadata_too_deep", checks.check_metadata, nested(17))


def test_lists_count_as_levels() -> None:
    deep: Any = []
    for _ in range(14):
        deep = [deep]
    checks.check_metadata({"a": deep})
    refused("metadata_too_deep", checks.check_metadata, {"a": [deep]})


def test_metadata_of_16_kib_is_taken_and_one_byte_more_refused() -> None:
    room = 16_384 - len('{"a":""}')
    checks.check_metadata({"a": "x" * room})
    checks.check_metadata({"a": "\u00e9" * (room // 2)})
    refused("metadata_too_large", checks.check_metadata, {"a": "x" * (room + 1)})
    refused("metadata_too_large", checks.check_metadata, {"a": "\u00e9" * (room // 2 + 1)})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    refused("metadata_number", checks.check_metadata, {"a": {"b": [1, number]}})


@pytest.mark.parametrize("number", [0, -1, 2**63, 1.7976931348623157e308, 5e-324, -0.0])
def test_finite_numbers_are_taken(number: float) -> None:
    checks.check_metadata({"a": number})


def test_empty_metadata_is_taken() -> None:
    checks.check_metadata({})


@pytest.mark.parametrize("thread_id", ["a", "A-Z.a_z:0-9", "x" * 128, "...", "::"])
def test_thread_ids_of_the_alphabet_are_taken(thread_id: str) -> None:
    checks.check_thread_id(thread_id)


@pytest.mark.parametrize(
    "thread_id",
    ["", "x" * 129, "a b", "a/b", "a\n", "\u00e9", "\u0661", "a{b}", "a%20b", "\0", "\ud800"],
)
def test_other_thread_ids_are_refused(thread_id: str) -> None:
    refused("thread_id_invalid", checks.check_thread_id, thread_id)


@pytest.mark.parametrize(
    ("check", "limit", "code"),
    [
        (checks.check_user_id, 256, "user_id_invalid"),
        (checks.check_idempotency_key, 256, "idempotency_key_invalid"),
        (checks.check_title, 1024, "title_too_long"),
    ],
)
def test_names_are_measured_in_bytes(check: Callable[[Any], None], limit: int, code: str) -> None:
    check("x")
    check("x" * limit)
    check("\u00e9" * (limit // 2))
    refused(code, check, "x" * (limit + 1))
    refused(code, check, "\u00e9" * (limit // 2) + "x")


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (checks.check_user_id, "user_id_invalid"),
        (checks.check_idempotency_key, "idempotency_key_invalid"),
    ],
)
def test_an_empty_name_is_refused(check: Callable[[Any], None], code: str) -> None:
    refused(code, check, "")


def test_a_thread_may_have_no_title() -> None:
    checks.check_title(None)
    checks.check_title("")


def test_the_roles_are_those_of_the_contract() -> None:
    for role in ("user", "assistant", "agent", "tool", "system"):
        checks.check_role(role)
    for role in ("", "User", "admin", "function"):
        refused("role_invalid", checks.check_role, role)
