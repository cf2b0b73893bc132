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

LAST_POLL = "threadkeep:looked"
"""When a worker last looked at the log, by Redis's clock."""

EVERY_INDEX = "thread:*:ids"
"""What the index of every thread matches."""

EVERY_MESSAGE = "message:active:*"
EVERY_RECORD = (EVERY_MESSAGE, "thread:*:record")
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


def threads_prefix(slot: int, user_id: str) -> str:
    """What the keys of a user's threads of a slot begin with."""
    return f"thread:{{{slot}}}:{encode(user_id)}:"


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


def hiding(slot: int, user_id: str, thread_id: str) -> tuple[str, str]:
    """The two that hide messages of a thread: its watermark, and its user's erasure."""
    return watermark(slot, user_id, thread_id), erased(slot, user_id)


@lru_cache(maxsize=65_536)
def _digest(user_id: str) -> str:
    return hashlib.sha256(user_id.encode()).hexdigest()


def events(user_id: str) -> str:
    """What those who listen to a user are told: a stream that is there only while somebody may be
    listening. With the two keys of the list of threads it is the only one of a write that lies in
    another slot, for it is one order over all of a user's threads."""
    return f"events:{encode(user_id)}"


def told(slot: int, name: str, version: int) -> str:
    """Set when those who listen were told of a version that was committed beside Redis."""
    return f"told:{{{slot}}}:{encode(name)}:{version}"


def stream(slot: int, message_id: str) -> str:
    """The text of a message that comes in chunks, behind a line that says whose it is. No TTL: it
    is nowhere else before the message is finished."""
    return f"stream:{{{slot}}}:{message_id}"


def streams(slot: int) -> str:
    """When each stream of a slot was last written, by Redis's clock: a sorted set of messages."""
    return f"streams:{{{slot}}}"


def waiting_threads(user_id: str) -> str:
    """A user's threads that have writes in the log, each with the entry of the newest one."""
    return f"threads:{encode(user_id)}:waiting"


def thread_pages(user_id: str) -> str:
    """Pages of a user's list of threads, as they were; without a `generation` none of them holds
    any more. `changes` counts new messages since it began, `+<thread>` is the last one's number."""
    return f"threads:{encode(user_id)}:pages"


ACTIVE_LISTS = "threads:active"
"""Users who listed their threads lately, by when."""

EVERY_LIST = "threads:*:pages"
"""What the pages of every list of threads match."""


def ticket(digest: str) -> str:
    """What a ticket stands for, by the hash of the ticket."""
    return f"ticket:{digest}"


def limit(kind: str, digest: str) -> str:
    """What all processes together let a caller take of one class, by the hash of its name."""
    return f"limit:{kind}:{digest}"


def analytics(user_id: str) -> str:
    """Figures of a user's, by what was asked for."""
    return f"analytics:{encode(user_id)}"


@lru_cache(maxsize=8_192)
def of_append(slot: int, user_id: str, thread_id: str) -> tuple[str, ...]:
    """What an append to a thread touches beside its messages, as `append.lua` has them."""
    return (
        index(slot, user_id, thread_id),
        pending(slot),
        drain(slot),
        *hiding(slot, user_id, thread_id),
        *of_listeners(user_id),
    )


def of_listeners(user_id: str) -> tuple[str, str, str]:
    """What a write touches for those who listen to its user, or list their threads."""
    return events(user_id), waiting_threads(user_id), thread_pages(user_id)


def drain(slot: int) -> str:
    """Set for a while after a wake-up for this slot was sent."""
    return f"drain:{{{slot}}}"


def performance(window: int) -> str:
    """What all processes counted in a window of two seconds; nothing of a user's is in it."""
    return f"performance:{window}"


def performance_turn(window: int) -> str:
    """Set by who judges at a window's end."""
    return f"performance:turn:{window}"


DELIVERIES = "alerts:deliveries"
"""What a webhook is to be told yet, by id."""


def delivery_lease(delivery_id: str) -> str:
    """Set while somebody tries to deliver it."""
    return f"alerts:delivery:{delivery_id}"
