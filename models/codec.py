"""Messages, threads and states as bytes: the log's record, and the canonical form that is hashed.

A record is one JSON object whose keys are PostgreSQL's column names, so the worker can hand a
batch of records to PostgreSQL as they are, without parsing one of them.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from models.message import Message, Thread
from models.state import StateRecord
from models.streams import STREAM_MARK

Record = TypeVar("Record", Message, Thread, StateRecord)

_record = msgspec.json.Encoder()
_canonical = msgspec.json.Encoder(order="deterministic")
_message = msgspec.json.Decoder(Message)
_thread = msgspec.json.Decoder(Thread)
_state = msgspec.json.Decoder(StateRecord)


class _Unmarked(msgspec.Struct):
    """Metadata of a message that is not being streamed."""

    mark: None = msgspec.field(default=None, name=STREAM_MARK)


class _Plain(msgspec.Struct):
    """What a record must have to be shown as it is; all else is only known to be JSON."""

    id: str
    metadata: _Unmarked
    deleted_at: None
    content_hash: str


_plain = msgspec.json.Decoder(list[_Plain])


class Corrupt(ValueError):
    """Bytes that are no record, or a record that does not match its own hash."""


def encode(record: Message | Thread | StateRecord) -> bytes:
    """The record as stored in Redis: one JSON object without white space."""
    return _record.encode(record)


def decode(record: bytes | str) -> Message:
    """A message back from its record. Raises `Corrupt`."""
    return _decoded(_message, "message", record)


def plain_array(records: Iterable[bytes]) -> bytes | None:
    """Records of messages as one JSON array, as they are; None where one of them is a tombstone, is
    being streamed, or is no record."""
    joined = b"".join((b"[", b",".join(records), b"]"))
    try:
        _plain.decode(joined)
        # Text that is not read is not checked.
        joined.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return joined


def decode_thread(record: bytes | str) -> Thread:
    """A thread back from its record. Raises `Corrupt`."""
    return _decoded(_thread, "thread", record)


def decode_state(record: bytes | str) -> StateRecord:
    """A state back from its record. Raises `Corrupt`."""
    return _decoded(_state, "state", record)


def _decoded(decoder: msgspec.json.Decoder[Record], kind: str, record: bytes | str) -> Record:
    try:
        return decoder.decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"not a {kind} record: {error}") from error


def canonical_metadata(metadata: dict[str, Any]) -> str:
    """Metadata as one text with sorted keys: what PostgreSQL and ClickHouse keep."""
    return _canonical.encode(metadata).decode()


def content_hash(message: Message) -> str:
    """SHA-256, in hex, of the canonical form of a version.

    The form is a JSON array of the fields in the order below, metadata with sorted keys. It holds
    all that makes a version what it is, so two tiers that agree on the hash agree on the version.
    """
    form = _canonical.encode(
        (
            message.id,
            message.user_id,
            message.thread_id,
            message.role,
            message.content,
            message.metadata,
            message.created_at,
            message.updated_at,
            message.version,
            message.deleted_at,
        )
    )
    return hashlib.sha256(form).hexdigest()


def seal(message: Message) -> Message:
    """The same version with its hash filled in."""
    return msgspec.structs.replace(message, content_hash=content_hash(message))


def is_intact(message: Message) -> bool:
    """Whether a copy matches its own hash."""
    try:
        return message.content_hash == content_hash(message)
    except (TypeError, ValueError, RecursionError):
        # Something that no door lets through, as a lone surrogate, has no canonical form.
        return False


def json_array(records: Iterable[bytes]) -> str:
    """Many records as one JSON array. Raises `UnicodeDecodeError` for a record that is no text."""
    return b"".join((b"[", b",".join(records), b"]")).decode()


def text(value: Any) -> str:
    """Any value as JSON text, as a statement takes it."""
    return _record.encode(value).decode()


def size_of(message: Message) -> int:
    """About how many bytes a message is in an answer: those of its text and metadata."""
    metadata = len(msgspec.json.encode(message.metadata)) if message.metadata else 0
    return len(message.content.encode()) + metadata
