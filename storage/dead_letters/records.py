"""What a refused record still says of itself, and what may be put in its place."""

import re

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

MAX_VERSION = 2**63 - 1
HEAD_BYTES = 4096
"""So much of a record holds its first fields, however they are escaped."""

# The beginning of every record that `codec.encode` makes, whatever is wrong further on.
_HEAD = re.compile(
    rb'\{"version":(?P<version>[^,"]*),"id":"(?P<id>(?:[^"\\]|\\.)*)"'
    rb'(?:,"thread_id":"(?P<thread_id>(?:[^"\\]|\\.)*)")?'
    rb',"user_id":"(?P<user_id>(?:[^"\\]|\\.)*)"'
)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Address(msgspec.Struct, frozen=True):
    """Whose record it is; None for what cannot be read. A thread's has no message id."""

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


def address_of(kind: str, record: bytes) -> Address:
    """What can be read of a record, or of its first `HEAD_BYTES`. Raises nothing."""
    try:
        fields = msgspec.json.decode(record, type=_Fields)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fields = _fields_of_head(record)
    version = fields.version
    if version is not None and not 1 <= version <= MAX_VERSION:
        version = None
    user_id, name = _shown(fields.user_id), _shown(fields.id)
    if kind == "message":
        message_id = name if name and ids.is_id(name) else None
        return Address(version, message_id, user_id, _shown(fields.thread_id))
    if kind == "thread":
        return Address(version, None, user_id, name)
    return Address()


def repaired(kind: str, refused: bytes, given: bytes) -> bytes:
    """The record that an admin gives in the place of a refused one, sealed.

    Raises `InvalidMessage` for one that no door would let through, and for one that is not the
    same version of the same message, or thread, of the same user.
    """
    try:
        record = codec.decode(given) if kind == "message" else codec.decode_thread(given)
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


def _check(record: Message | Thread) -> None:
    check_user_id(record.user_id)
    check_metadata(record.metadata, may_be_marked=True)
    if isinstance(record, Message):
        check_thread_id(record.thread_id)
        check_role(record.role)
        if record.deleted_at is None:
            check_content(record.content)
        elif record.content or record.metadata:
            raise InvalidMessage("record_invalid", "a tombstone has no content and no metadata")
    else:
        check_thread_id(record.id)
        check_title(record.title)
    if not 1 <= record.version <= MAX_VERSION:
        raise InvalidMessage("record_invalid", "the version is out of bounds")
    for moment in (record.created_at, record.updated_at, record.deleted_at):
        # The hash is taken over this text, and the tiers below give it back in this form.
        if moment is not None and _TIMESTAMP.fullmatch(moment) is None:
            raise InvalidMessage("record_invalid", "times are UTC with six digits and a Z")
    if isinstance(record, Message):
        _check_id(record)


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
    found = _HEAD.match(record[:HEAD_BYTES])
    if found is None:
        return _Fields()
    version = found["version"]
    return _Fields(
        int(version) if version.isdigit() and len(version) < 20 else None,
        _text(found["id"]),
        _text(found["user_id"]),
        _text(found["thread_id"]),
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


def created_at(record: bytes) -> str:
    """When a record says that what it holds was created; empty where it cannot be read."""
    try:
        return msgspec.json.decode(record, type=_Creation).created_at
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


class _Deletion(msgspec.Struct):
    deleted_through: str | None = None


def deleted_through(record: bytes) -> str:
    """The watermark that a thread's record sets; empty for none, or where it cannot be read."""
    try:
        return msgspec.json.decode(record, type=_Deletion).deleted_through or ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
