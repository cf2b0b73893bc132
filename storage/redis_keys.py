"""Every key in Redis. What one write touches shares a shard's braces, so it lies in one slot.

Names from outside are percent-encoded, `:` and braces too: otherwise user `a:b` with thread `c`
and user `a` with thread `b:c` would share a key.
"""

import hashlib
from functools import lru_cache
from urllib.parse import quote


@lru_cache(maxsize=65_536)
def encode(name: str) -> str:
    """A name from outside, safe inside a key."""
    return quote(name, safe="")


INSTALLATION = "threadkeep:installation"
"""Which installation this Redis belongs to: the same mark as in PostgreSQL."""

EVERY_INDEX = "thread:*:ids"
"""What the index of every thread matches."""

EVERY_RECORD = ("message:active:*", "thread:*:record")
"""What the records of every message and of every thread match."""

EVERY_STATE = ("session:*", "state:primary:*")
"""What the states of every session and of every run match."""


def message_prefix(slot: int) -> str:
    """What the key of every message of a slot begins with."""
    return f"message:active:{{{slot}}}:"


def message(slot: int, message_id: str) -> str:
    """The newest version of a message. No TTL until it is in PostgreSQL."""
    return f"message:active:{{{slot}}}:{message_id}"


def index(slot: int, user_id: str, thread_id: str) -> str:
    """The hot page of a thread: a sorted set of ids and one floor, `!<id>`, above which it is
    complete."""
    return f"thread:{{{slot}}}:{encode(user_id)}:{encode(thread_id)}:ids"


def thread(slot: int, user_id: str, thread_id: str) -> str:
    """A thread's own data. No TTL until it is in PostgreSQL."""
    return f"thread:{{{slot}}}:{encode(user_id)}:{encode(thread_id)}:record"


def watermark(slot: int, user_id: str, thread_id: str) -> str:
    """The id at and below which a thread was deleted. No TTL until it is in PostgreSQL."""
    return f"thread:{{{slot}}}:{encode(user_id)}:{encode(thread_id)}:deleted-through"


def state(slot: int, user_id: str, name: str) -> str:
    """The newest state of a run, or of a session, which has no name. No TTL until it is in
    PostgreSQL."""
    if not name:
        return f"session:{{{slot}}}:{encode(user_id)}"
    return f"state:primary:{{{slot}}}:{encode(user_id)}:{encode(name)}"


def pending(slot: int) -> str:
    """The write-ahead log of a slot: every acknowledged write that is not committed yet."""
    return f"pending:{{{slot}}}"


def idempotency(slot: int, user_id: str, thread_id: str, key: str) -> str:
    """The id that an Idempotency-Key made."""
    return f"idempotency:{{{slot}}}:{encode(user_id)}:{encode(thread_id)}:{encode(key)}"


def erased(slot: int, user_id: str) -> str:
    """The id at and below which a user was erased. The name does not give the user away."""
    return f"erased:{{{slot}}}:{_digest(user_id)}"


@lru_cache(maxsize=65_536)
def _digest(user_id: str) -> str:
    return hashlib.sha256(user_id.encode()).hexdigest()


def drain(slot: int) -> str:
    """Set while a wake-up for this slot is on its way."""
    return f"drain:{{{slot}}}"
