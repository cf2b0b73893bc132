"""A message and a thread: their shapes, and what may be in them.

Validation happens once, at the door, before anything is acknowledged: what a tier could not keep
is refused here (`InvalidMessage`), so that nothing acknowledged can be refused later.
"""

import re
from typing import Any, Literal, get_args

import msgspec

from models.streams import STREAM_MARK

Role = Literal["user", "assistant", "agent", "tool", "system"]
Tier = Literal["redis", "postgresql", "clickhouse"]
"""Where a message can be."""
Source = Literal["redis", "postgresql", "clickhouse", "mixed"]
"""Where a list came from."""
Durability = Literal["fsynced", "committed", "archived", "memory"]
"""What an acknowledgement means: on Redis's disk, committed in PostgreSQL, inserted in
ClickHouse, or only in the memory of a Redis that cannot fsync."""
FailoverReason = Literal["redis_unavailable", "redis_and_postgresql_unavailable"]
Caveat = Literal[
    "degraded_performance_redis_unavailable",
    "degraded_mode_postgresql_unavailable",
    "degraded_mode_clickhouse_unavailable",
    "degraded_mode_redis_and_postgresql_unavailable",
    "incomplete_clickhouse_unavailable",
    "incomplete_unpersisted_messages",
]
"""What a caller is told when an answer is slower, or knows less, than it should."""

ROLES: tuple[str, ...] = get_args(Role)

VERSION_STEP = 1_000
"""A version written beside Redis leaves room for those that Redis may hold and nobody has seen."""
CONFLICT_ATTEMPTS = 100
"""At each attempt of everyone at least one succeeds, so this many writers all get through."""

MAX_CONTENT_BYTES = 64 * 1024
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 16
MAX_TITLE_BYTES = 1024
MAX_USER_ID_BYTES = 256
MAX_IDEMPOTENCY_KEY_BYTES = 256
MAX_SHOWN_CHARACTERS = 64

NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""What a client may call a thread or a run."""
PATH_SEGMENTS = frozenset({".", ".."})
UNASKABLE = "cannot be called . or .. : no client can ask for it (RFC 3986, section 5.2.4)"
_UNKEEPABLE = re.compile("[\0\ud800-\udfff]")


class InvalidMessage(ValueError):
    """Something no tier may be given. `code` is stable, the text is for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one message, the same in every tier.

    Times are RFC 3339 text in UTC with six digits. A tombstone has `deleted_at`, no content and
    no metadata. `content_hash` is the SHA-256 of the canonical form (see `models.codec`).
    """

    # The version comes first, so that Redis scripts can read it off the start of a record.
    version: int
    id: str
    thread_id: str
    user_id: str
    role: str
    content: str
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    deleted_at: str | None = None
    content_hash: str = ""


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a thread's own data.

    `deleted_through` is the watermark: every message at or below this id is gone. `deleted_at`
    is set while the thread itself is gone, until a later message opens it anew. Pinned and archived
    are marks of its user's, which hide nothing.
    """

    version: int
    id: str
    user_id: str
    title: str | None
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    deleted_at: str | None = None
    deleted_through: str | None = None
    is_pinned: bool = False
    is_archived: bool = False

    def summary(
        self,
        last_message_at: str | None = None,
        message_count: int = 0,
        last_message_preview: str | None = None,
    ) -> "ThreadSummary":
        """The thread as callers see it."""
        return ThreadSummary(
            id=self.id,
            user_id=self.user_id,
            title=self.title,
            metadata=self.metadata,
            created_at=self.created_at,
            last_message_at=last_message_at,
            message_count=message_count,
            last_message_preview=last_message_preview,
            is_pinned=self.is_pinned,
            is_archived=self.is_archived,
        )


class ThreadSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A thread as callers see it: its own data and what its messages say of it.

    `last_message_preview` begins the newest message that is not deleted, 200 characters of it.
    """

    id: str
    user_id: str
    title: str | None
    metadata: dict[str, Any]
    created_at: str
    last_message_at: str | None
    message_count: int
    last_message_preview: str | None
    is_pinned: bool
    is_archived: bool


def check_content(
    content: str, metadata: dict[str, Any] | None = None, name: str = "message"
) -> None:
    """Refuses content that is too long, not keepable as text, or empty where no metadata says what
    the message is, as the calls of tools that an agent makes without a word.

    Where there can be none, it is None. `name` is what the caller calls the text.
    """
    if not content and not metadata:
        instead = "" if metadata is None else ", or metadata beside it"
        raise InvalidMessage("content_empty", f"{name} must have at least one character{instead}")
    if len(content) > MAX_CONTENT_BYTES or _bytes(content, name) > MAX_CONTENT_BYTES:
        raise InvalidMessage(
            "content_too_long",
            f"{name} must have at most {MAX_CONTENT_BYTES} bytes of UTF-8, and has"
            f" {_bytes(content, name)}",
        )
    check_text(content, name)


def check_metadata(metadata: dict[str, Any], *, may_be_marked: bool = False) -> None:
    """Refuses metadata that is too large, too deep, or holds text or numbers no tier can keep.

    What a message was stored with before `may_be_marked`; from clients a mark is refused.
    """
    if not metadata:
        return
    if STREAM_MARK in metadata and not may_be_marked:
        raise InvalidMessage("metadata_reserved", f"the key {STREAM_MARK} is the server's own")
    check_json(metadata, "metadata", MAX_METADATA_DEPTH)
    size = len(msgspec.json.encode(metadata))
    if size > MAX_METADATA_BYTES:
        raise InvalidMessage(
            "metadata_too_large",
            f"metadata must have at most {MAX_METADATA_BYTES} bytes as JSON, and has {size}",
        )


def check_thread_id(thread_id: str) -> None:
    """Refuses a thread id outside the contract's alphabet or length."""
    if NAME.fullmatch(thread_id) is None:
        raise InvalidMessage(
            "thread_id_invalid", "a thread id has 1 to 128 characters of A-Z a-z 0-9 . _ : -"
        )


def check_new_thread_id(thread_id: str) -> None:
    """Refuses what no new thread may be called: what clients take out of a path before they ask.
    Threads that were called so before stay as they are."""
    check_thread_id(thread_id)
    if thread_id in PATH_SEGMENTS:
        raise InvalidMessage("thread_id_invalid", f"a thread {UNASKABLE}")


def check_user_id(user_id: str) -> None:
    """Refuses a user id that is empty, too long, or not keepable as text."""
    check_text(user_id, "user id")
    if not 1 <= _bytes(user_id, "user id") <= MAX_USER_ID_BYTES:
        raise InvalidMessage("user_id_invalid", f"a user id has 1 to {MAX_USER_ID_BYTES} bytes")


def check_idempotency_key(key: str) -> None:
    """Refuses a key that is empty, too long, or not keepable as text."""
    check_text(key, "Idempotency-Key")
    if not 1 <= _bytes(key, "Idempotency-Key") <= MAX_IDEMPOTENCY_KEY_BYTES:
        raise InvalidMessage(
            "idempotency_key_invalid",
            f"an Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY_BYTES} bytes",
        )
    if any(letter < " " for letter in key):
        raise InvalidMessage(
            "idempotency_key_invalid", "an Idempotency-Key has no control characters"
        )


def check_title(title: str | None) -> None:
    """Refuses a title that is too long or not keepable as text."""
    if title is None:
        return
    check_text(title, "title")
    if _bytes(title, "title") > MAX_TITLE_BYTES:
        raise InvalidMessage("title_too_long", f"a title has at most {MAX_TITLE_BYTES} bytes")


def check_role(role: str) -> None:
    """Refuses a role the contract does not name."""
    if role not in ROLES:
        shown = repr(role[:MAX_SHOWN_CHARACTERS])
        raise InvalidMessage(
            "role_invalid", f"role is {shown}, and must be one of {', '.join(ROLES)}"
        )


def check_text(text: str, name: str) -> None:
    """Refuses U+0000 and lone surrogates, which PostgreSQL cannot keep."""
    if _UNKEEPABLE.search(text):
        raise InvalidMessage(
            "text_unkeepable", f"{name} holds U+0000 or a lone surrogate, which cannot be kept"
        )


def _bytes(text: str, name: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        check_text(text, name)
        raise


def check_json(value: Any, name: str, max_depth: int, depth: int = 1) -> None:
    """Refuses JSON that is too deep, or holds text or numbers no tier can keep."""
    if isinstance(value, str):
        check_text(value, name)
    elif isinstance(value, float) and value - value != 0:
        raise InvalidMessage(f"{name}_number", f"{name} holds a number that is not finite")
    elif isinstance(value, dict | list):
        if depth > max_depth:
            raise InvalidMessage(
                f"{name}_too_deep", f"{name} must be at most {max_depth} levels deep"
            )
        for key in value if isinstance(value, dict) else ():
            check_text(key, name)
        for inner in value.values() if isinstance(value, dict) else value:
            check_json(inner, name, max_depth, depth + 1)
