"""The kinds of records in the log: how each is read, written to PostgreSQL, and named in Redis."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from models import codec, ids
from models.message import Message, Thread
from models.state import StateRecord
from models.tables import messages
from storage.postgres import states, writes
from storage.postgres.driver import message_of
from storage.redis import keys
from storage.redis.pending_log import LogEntry


class Item(NamedTuple):
    """An entry of the log, and the record in it."""

    entry: LogEntry
    record: Any


class Kind(NamedTuple):
    """One kind of record: `decode` raises `Corrupt`, `key` is that of its copy in a slot of Redis,
    and `write` gives how many versions were newer and the ids of messages that are hidden."""

    decode: Callable[[bytes], Message | Thread | StateRecord]
    key: Callable[[int, Any], str]
    write: Callable[[Connection, Sequence[Item]], tuple[int, Collection[str]]]


def _message(record: bytes) -> Message:
    message = codec.decode(record)
    if not ids.is_id(message.id):
        raise codec.Corrupt("its id is not a message id")
    return message


def _write_threads(connection: Connection, items: Sequence[Item]) -> tuple[int, Collection[str]]:
    for item in items:
        writes.upsert_thread(connection, item.record)
    return 0, ()


def _write_states(connection: Connection, items: Sequence[Item]) -> tuple[int, Collection[str]]:
    written = states.upsert(connection, [item.entry.record for item in items])
    logged = _newest(items, lambda record: record.whose)
    if written < len(logged):
        # What was written beside Redis, or has reached PostgreSQL before Redis lost its end.
        found = states.find(connection, logged)
        newer = [one.whose for one in found if one.version > logged[one.whose]]
        if newer:
            states.queue_backfill(connection, newer)
    return written, ()


def _write_messages(connection: Connection, items: Sequence[Item]) -> tuple[int, Collection[str]]:
    written, hidden = writes.take_in(connection, [item.entry.record for item in items])
    logged = _newest(items, lambda record: record.id)
    if written + len(hidden) < len(logged):
        # A replica that was promoted without its primary's end logs what PostgreSQL has beyond.
        query = select(messages).where(messages.c.id.in_(logged))
        found = map(message_of, connection.execute(query))
        newer = [one for one in found if one.version > logged[one.id]]
        if newer:
            writes.queue_backfill(connection, newer)
    return written, hidden


def _newest(items: Sequence[Item], name_of: Callable[[Any], Any]) -> dict[Any, int]:
    """The newest version of each record, by its name."""
    newest: dict[Any, int] = {}
    for _, record in items:
        name = name_of(record)
        newest[name] = max(record.version, newest.get(name, 0))
    return newest


KINDS: dict[str, Kind] = {
    "thread": Kind(
        codec.decode_thread,
        lambda slot, thread: keys.thread(slot, thread.user_id, thread.id),
        _write_threads,
    ),
    "state": Kind(
        codec.decode_state,
        lambda slot, state: keys.state(slot, state.user_id, state.name),
        _write_states,
    ),
    "message": Kind(
        _message, lambda slot, message: keys.message(slot, message.id), _write_messages
    ),
}
"""By the name of the field in the log, in the order in which a batch writes them."""
