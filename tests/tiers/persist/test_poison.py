"""What PostgreSQL cannot keep is kept as a dead letter, alone; its neighbours are committed."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from jobs.persist.drain import Drained
from models import codec, ids
from models.message import Message
from models.tables import dead_letters, messages
from storage.redis import keys
from support.data.samples import append_of, message
from wiring.process import Services

NEVER_SHARD = 1


def changed(user: str, **fields: Any) -> bytes:
    """A record with fields that no door would have let through."""
    record = msgspec.json.decode(codec.encode(message(user)))
    return msgspec.json.encode(record | fields)


def without(user: str, field: str) -> bytes:
    record = msgspec.json.decode(codec.encode(message(user)))
    del record[field]
    return msgspec.json.encode(record)


def deep(user: str, levels: int) -> bytes:
    record = changed(user, metadata="here")
    return record.replace(b'"here"', b'{"a":' * levels + b"1" + b"}" * levels)


POISONS: dict[str, Callable[[str], bytes]] = {
    "no JSON": lambda user: b"{",
    "empty": lambda user: b"",
    "another shape": lambda user: b'["version", 1]',
    "null": lambda user: b"null",
    "U+0000 in the content": lambda user: changed(user, content="a\0b"),
    "U+0000 in the thread": lambda user: changed(user, thread_id="a\0b"),
    "a lone surrogate": lambda user: changed(user, content="X").replace(b'"X"', b'"\\ud800"'),
    "invalid UTF-8": lambda user: changed(user, content="X").replace(b'"X"', b'"\xff\xfe"'),
    "invalid UTF-8 in the id": lambda user: b'{"version":1,"id":"\xff"}',
    "the version is text": lambda user: changed(user, version="one"),
    "the version is 0": lambda user: changed(user, version=0),
    "the version is too large": lambda user: changed(user, version=2**63),
    "the id is no UUID": lambda user: changed(user, id="one"),
    "the id is of another version": lambda user: changed(
        user, id="01a1fc1b-eb65-4fec-82e6-2aae62aa8097"
    ),
    "the time is none": lambda user: changed(user, created_at="yesterday-ish"),
    "the hash is none": lambda user: changed(user, content_hash="abc"),
    "no content": lambda user: without(user, "content"),
    "no user": lambda user: without(user, "user_id"),
    "the user is null": lambda user: changed(user, user_id=None),
    "the role is null": lambda user: changed(user, role=None),
    "metadata of a hundred thousand levels": lambda user: deep(user, 100_000),
    "the metadata is a list": lambda user: changed(user, metadata=[1]),
    "the metadata is text": lambda user: changed(user, metadata="text"),
}


def inject(alone: Services, user: str, fields: dict[str, bytes]) -> str:
    """Puts an entry straight into the log of the user's thread; gives its entry id."""
    log = keys.pending(alone.tiers.redis.slot_of_thread(user, "t"))
    entry_id: bytes = alone.tiers.redis_client.xadd(log, fields)  # type: ignore[arg-type, assignment]
    return entry_id.decode()


def letters(alone: Services, *entry_ids: str) -> list[Any]:
    query = select(dead_letters).where(dead_letters.c.entry_id.in_(entry_ids))
    with alone.tiers.job_engine.connect() as connection:
        return list(connection.execute(query.order_by(dead_letters.c.id)))


def neighbours(alone: Services, user: str) -> list[Message]:
    made = [message(user) for _ in range(3)]
    alone.tiers.redis.append([append_of(*made)], 60)
    return made


def committed(alone: Services, user: str) -> list[str]:
    query = select(messages.c.id).where(messages.c.user_id == user).order_by(messages.c.id)
    with alone.tiers.job_engine.connect() as connection:
        return list(connection.execute(query).scalars())


@pytest.mark.parametrize("what", POISONS)
def test_a_poisonous_message_is_refused_alone(
    alone: Services, user: str, drain: Callable[[], Drained], what: str
) -> None:
    record = POISONS[what](user)
    before = neighbours(alone, user)
    entry_id = inject(alone, user, {"message": record})
    after = neighbours(alone, user)
    done = drain()
    assert (done.written, done.refused) == (6, 1)
    assert committed(alone, user) == [one.id for one in before + after]
    assert sum(alone.tiers.pending_log.backlog()) == 0
    (letter,) = letters(alone, entry_id)
    assert (letter.kind, letter.record) == ("message", record)
    assert letter.reason


def test_a_letter_with_a_name_that_nobody_can_have_keeps_none_from_erasing(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    neighbours(alone, user)
    alone.threads.delete(user, "t")
    entry_id = inject(alone, user, {"message": POISONS["U+0000 in the thread"](user)})
    drain()
    alone.jobs.erasure.erase_deleted_threads()
    assert len(letters(alone, entry_id)) == 1


def test_many_poisonous_messages_are_each_refused_alone(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    made, entry_ids = [], []
    for poison in POISONS.values():
        made += neighbours(alone, user)
        entry_ids.append(inject(alone, user, {"message": poison(user)}))
    done = drain()
    assert (done.written, done.refused) == (len(made), len(POISONS))
    assert committed(alone, user) == [one.id for one in made]
    assert len(letters(alone, *entry_ids)) == len(POISONS)


@pytest.mark.parametrize(
    "fields",
    [
        {"thread": b"{"},
        {"thread": b'{"version":1,"id":"t"}'},
        {"event": b"{}"},
        {"message": b"{}", "thread": b"{}"},
        {"\udcff": b"{}"},
        {"a\0b": b"{}"},
    ],
)
def test_an_entry_of_no_known_form_is_refused_alone(
    alone: Services, user: str, drain: Callable[[], Drained], fields: dict[str, bytes]
) -> None:
    raw = {name.encode(errors="surrogateescape"): value for name, value in fields.items()}
    made = neighbours(alone, user)
    entry_id = inject(alone, user, raw)  # type: ignore[arg-type]
    assert drain().refused == 1
    assert committed(alone, user) == [one.id for one in made]
    assert len(letters(alone, entry_id)) == 1


def test_a_poisonous_thread_is_refused_alone(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    moment = "2026-01-01T00:00:00.000000Z"
    record = {
        "version": 1,
        "id": "t",
        "user_id": user,
        "title": "a\0b",
        "metadata": {},
        "created_at": moment,
        "updated_at": moment,
    }
    entry_id = inject(alone, user, {"thread": msgspec.json.encode(record)})
    made = neighbours(alone, user)
    assert drain().refused == 1
    assert committed(alone, user) == [one.id for one in made]
    assert [letter.kind for letter in letters(alone, entry_id)] == ["thread"]


def test_what_was_refused_stays_readable_in_redis(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    # It was acknowledged: until somebody decides on the dead letter it must not be evicted.
    one = message(user)
    alone.tiers.redis.append([append_of(one)], 60)
    log = keys.pending(alone.tiers.redis.slot_of_thread(user, "t"))
    alone.tiers.redis_client.delete(log)
    inject(alone, user, {"message": changed(user, id=one.id, content="a\0b")})
    assert drain().refused == 1
    assert not alone.tiers.redis.is_evictable(one.id)


@pytest.mark.parametrize("time_us", [1, 3 * 86_400 * 1_000_000])
def test_an_id_from_the_first_days_of_1970_holds_up_nobody(
    alone: Services, user: str, drain: Callable[[], Drained], time_us: int
) -> None:
    # What an import makes of a message whose source knew no time. Its week began in 1969.
    first = message(user, "old", time_us=time_us)
    alone.tiers.redis.append([append_of(first)], 60)
    made = neighbours(alone, user)
    assert drain().written == 4
    assert committed(alone, user) == [first.id, *(one.id for one in made)]


def test_an_id_from_far_ahead_holds_up_nobody(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    far_us = ids.MAX_MICROSECONDS
    record = changed(user, id=ids.mint(far_us, NEVER_SHARD), created_at="9999-12-31T23:59:59Z")
    inject(alone, user, {"message": record})
    made = neighbours(alone, user)
    done = drain()
    assert done.written + done.refused == 4
    try:
        alone.jobs.replication.ship_all()
        for one in made:
            assert alone.tiers.clickhouse.message(user, one.id) is not None
    finally:
        with alone.tiers.job_engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM messages_default")
            connection.exec_driver_sql("DELETE FROM clickhouse_outbox")
