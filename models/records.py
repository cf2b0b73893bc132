"""What a refused record still says of itself, and what may be put in its place."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from models import codec, ids
from models.message import (
    InvalidMessage,
    Message,
    Thread,
    check_content,
    check_metadata,
    check_role,
    check_thread_id,
    check_title,
    check_user_id,
)
from models.state import StateRecord, check_run_id, check_state

Shape = TypeVar("Shape")

MAX_VERSION = 2**63 - 1
HEAD_BYTES = 4096
"""So much of a record holds its first fields, however they are escaped."""

# The beginning of every record that `codec.encode` makes, whatever is wrong further on.
_HEAD = re.compile(
    rb'\{"version":(?P<version>[^,"]*),"id":"(?P<id>(?:[^"\\]|\\.)*)"'
    rb'(?:,"thread_id":"(?P<thread_id>(?:[^"\\]|\\.)*)")?'
    rb',"user_id":"(?P<user_id>(?:[^"\\]|\\.)*)"'
)
_STATE_HEAD = re.compile(
    rb'\{"version":(?P<version>[^,"]*),"updated_at":"[^"]*","kind":"[^"]*"'
    rb',"user_id":"(?P<user_id>(?:[^"\\]|\\.)*)","name":"(?P<name>[^"\\]*)"'
)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Address(msgspec.Struct, frozen=True):
    """Whose record it is; None for what cannot be read. A thread's has no message id, nor a
    state's, whose run stands for the thread, an empty name for a session."""

    version: int | None = None
    message_id: str | None = None
    user_id: str | None = None
    thread_id: str | None = None

    def is_whole(self, kind: str) -> bool:
        """Whether it says which write of whom this is."""
        names = (self.user_id, self.thread_id, self.message_id if kind == "message" else "none")
        return None not in names


class _Fields(msgspec.Struct):
    version: int | None = None
    id: str | None = None
    user_id: str | None = None
    thread_id: str | None = None
    name: str | None = None


def address_of(kind: str, record: bytes) -> Address:
    """What can be read of a record, or of its first `HEAD_BYTES`. Raises nothing."""
    fields = _read(record, _Fields) or _fields_of_head(record)
    version = fields.version
    if version is not None and not 1 <= version <= MAX_VERSION:
        version = None
    user_id, name = _shown(fields.user_id), _shown(fields.id)
    if kind == "message":
        message_id = name if name and ids.is_id(name) else None
        return Address(version, message_id, user_id, _shown(fields.thread_id))
    if kind == "thread":
        return Address(version, None, user_id, name)
    if kind == "state":
        return Address(version, None, user_id, fields.name)
    return Address()


def repaired(kind: str, refused: bytes, given: bytes) -> bytes:
    """The record that an admin gives in the place of a refused one, sealed.

    Raises `InvalidMessage` for one that no door would let through, and for one that is not the
    same version of the same message, or thread, of the same user.
    """
    try:
        record = _DECODERS.get(kind, codec.decode_thread)(given)
    except codec.Corrupt as error:
        raise InvalidMessage("record_invalid", str(error)) from None
    _check(record)
    before, after = address_of(kind, refused), address_of(kind, given)
    if not before.is_whole(kind):
        raise _mismatch("the refused record no longer says whose it is, so none can replace it")
    if before.version is None:
        after = msgspec.structs.replace(after, version=None)
    if after != before or deleted_through(refused) != deleted_through(given):
        raise _mismatch("it is not the same version of the same message of the same user")
    return codec.encode(codec.seal(record) if isinstance(record, Message) else record)


_DECODERS: dict[str, Callable[[bytes], Message | Thread | StateRecord]] = {
    "message": codec.decode,
    "state": codec.decode_state,
}


def _check(record: Message | Thread | StateRecord) -> None:
    check_user_id(record.user_id)
    if isinstance(record, StateRecord):
        return _check_state(record)
    check_metadata(record.metadata, may_be_marked=True)
    if isinstance(record, Message):
        check_thread_id(record.thread_id)
        check_role(record.role)
        if record.deleted_at is None:
            # History and streams may have left a text empty.
            if record.content:
                check_content(record.content, name="content")
        elif record.content or record.metadata:
            raise InvalidMessage("record_invalid", "a tombstone has no content and no metadata")
    else:
        check_thread_id(record.id)
        check_title(record.title)
    _check_frame(record.version, record.created_at, record.updated_at, record.deleted_at)
    if isinstance(record, Message):
        _check_id(record)
    return None


def _check_state(record: StateRecord) -> None:
    if record.name or record.kind == "run":
        check_run_id(record.name)
    if (record.kind == "session") != (not record.name):
        raise InvalidMessage("record_invalid", "a session has no name, and a run has one")
    try:
        state = msgspec.json.decode(bytes(record.state), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise InvalidMessage("record_invalid", f"the state is no JSON object: {error}") from None
    check_state(state, record.state)
    _check_frame(record.version, record.updated_at, record.expires_at, record.deleted_at)


def _check_frame(version: int, *moments: str | None) -> None:
    if not 1 <= version <= MAX_VERSION:
        raise InvalidMessage("record_invalid", "the version is out of bounds")
    for moment in moments:
        # The hash is taken over this text, and the tiers below give it back in this form.
        if moment is not None and _TIMESTAMP.fullmatch(moment) is None:
            raise InvalidMessage("record_invalid", "times are UTC with six digits and a Z")


def _check_id(message: Message) -> None:
    if not ids.is_id(message.id):
        raise InvalidMessage("record_invalid", "its id is not a message id")
    to_the_millisecond = len("2026-01-01T00:00:00.000")
    if (
        ids.timestamp(ids.time_us_of(message.id))[:to_the_millisecond]
        != (message.created_at[:to_the_millisecond])
    ):
        raise InvalidMessage("record_invalid", "created_at is not the time of the id")


def _mismatch(detail: str) -> InvalidMessage:
    return InvalidMessage("record_mismatch", detail)


def _fields_of_head(record: bytes) -> _Fields:
    found = _HEAD.match(record[:HEAD_BYTES]) or _STATE_HEAD.match(record[:HEAD_BYTES])
    if found is None:
        return _Fields()
    parts = found.groupdict()
    version = parts.pop("version")
    return _Fields(
        int(version) if version.isdigit() and len(version) < 20 else None,
        **{name: _text(quoted) for name, quoted in parts.items()},
    )


def _text(quoted: bytes | None) -> str | None:
    try:
        return None if quoted is None else msgspec.json.decode(b'"' + quoted + b'"', type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _shown(name: str | None) -> str | None:
    """A name as far as it can be shown; what has no end was never a name."""
    return name if name and len(name) <= HEAD_BYTES else None


class _Creation(msgspec.Struct):
    created_at: str = ""
    updated_at: str = ""


def created_at(record: bytes) -> str:
    """When a record says that what it holds was created, of a state when this version was; empty
    where it cannot be read."""
    found = _read(record, _Creation)
    return (found.created_at or found.updated_at) if found else ""


class _Deletion(msgspec.Struct):
    deleted_through: str | None = None


def deleted_through(record: bytes) -> str:
    """The watermark that a thread's record sets; empty for none, or where it cannot be read."""
    found = _read(record, _Deletion)
    return (found and found.deleted_through) or ""


def _read(record: bytes, shape: type[Shape]) -> Shape | None:
    """The fields of a record that a shape names; None where they cannot be read."""
    try:
        return msgspec.json.decode(record, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
