"""Records and hashes: what goes in comes back, and one hash means one version."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import codec
from models.message import Message, Thread
from support.data.samples import METADATA, TEXTS, message, revised

CHANGES = {
    "version": 2,
    "id": "01a1fc1b-eb65-7fec-82e6-2aae62aa8097",
    "thread_id": "other",
    "user_id": "other",
    "role": "tool",
    "content": "other",
    "metadata": {"other": 1},
    "created_at": "2001-01-01T00:00:00.000000Z",
    "updated_at": "2001-01-01T00:00:00.000000Z",
    "deleted_at": "2001-01-01T00:00:00.000000Z",
}


@given(TEXTS, METADATA)
def test_a_record_gives_its_message_back(content: str, metadata: dict[str, object]) -> None:
    before = message("u", content=content, metadata=metadata)
    after = codec.decode(codec.encode(before))
    assert after == before
    assert after.content.encode() == content.encode()
    assert codec.is_intact(after)


@given(st.integers(1, 2**63 - 1), TEXTS)
def test_the_version_stands_at_the_start_of_every_record(version: int, content: str) -> None:
    # The scripts in Redis read it from there, for messages and threads alike.
    wanted = b'{"version":%d,' % version
    assert codec.encode(message("u", content=content, version=version)).startswith(wanted)
    assert codec.encode(_thread(version)).startswith(wanted)


def test_a_thread_record_gives_its_thread_back() -> None:
    assert codec.decode_thread(codec.encode(_thread(3))) == _thread(3)


@given(st.dictionaries(st.text(max_size=5), st.integers(), min_size=2, max_size=6))
def test_the_hash_does_not_depend_on_the_order_of_keys(metadata: dict[str, int]) -> None:
    metadata = {key.encode(errors="replace").decode(): value for key, value in metadata.items()}
    turned = dict(reversed(metadata.items()))
    one = message("u", metadata={"inner": metadata, **metadata})
    other = msgspec.structs.replace(one, metadata={**turned, "inner": turned})
    assert codec.content_hash(one) == codec.content_hash(other)
    assert codec.canonical_metadata(metadata) == codec.canonical_metadata(turned)


@pytest.mark.parametrize("field", CHANGES)
def test_a_change_of_any_field_changes_the_hash(field: str) -> None:
    before = message("u")
    changed = msgspec.structs.replace(before, **{field: CHANGES[field]})
    assert codec.content_hash(changed) != before.content_hash
    assert not codec.is_intact(changed)


def test_every_field_but_the_hash_itself_is_hashed() -> None:
    assert {*CHANGES, "content_hash"} == {*Message.__struct_fields__}


def test_two_versions_have_two_hashes() -> None:
    first = message("u")
    assert revised(first).content_hash != first.content_hash


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"version":"one"}',
        b"\xff\xfe",
        b'{"version":1,"id":"\xff"}',
    ],
)
def test_what_is_no_record_is_corrupt(record: bytes) -> None:
    with pytest.raises(codec.Corrupt):
        codec.decode(record)
    with pytest.raises(codec.Corrupt):
        codec.decode_thread(record)


def test_many_records_are_one_json_array() -> None:
    made = [message("u", content=text) for text in ('"', "\\", "]")]
    array = codec.json_array([codec.encode(one) for one in made])
    assert msgspec.json.decode(array, type=list[Message]) == made
    assert codec.json_array([]) == "[]"


def test_a_record_that_is_no_text_cannot_join_an_array() -> None:
    with pytest.raises(UnicodeDecodeError):
        codec.json_array([b"\xff"])


def _thread(version: int) -> Thread:
    return Thread(
        version=version,
        id="t",
        user_id="u",
        title="a title",
        metadata={"a": 1},
        created_at="2026-01-01T00:00:00.000000Z",
        updated_at="2026-01-01T00:00:00.000000Z",
    )
