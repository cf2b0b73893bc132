"""Versioned records of each kind, as tests write them, and what the tiers have of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import text

from models import codec, ids
from models.message import Message, Thread
from models.state import StateRecord
from storage.redis import keys
from support.data.samples import CLOCK, message
from support.data.states import run
from support.faults.refusing import refusing
from wiring.process import Services

BAD = "what PostgreSQL will not take"


class Kind(NamedTuple):
    """One kind of record: how versions of it are made, written, and found again."""

    name: str
    make: Callable[[str], Any]
    put: Callable[[Services, Any, int], bool]
    refresh: Callable[[Services, Any], object]
    key: Callable[[int, Any], str]
    decode: Callable[[bytes], Any]
    committed: str
    refuses: str
    is_cached: bool
    """Whether a committed version is taken into a Redis that has none."""


def put_message(own: Services, one: Message, expected_version: int) -> bool:
    return own.tiers.redis.revise(one, expected_version=expected_version)


def put_thread(own: Services, one: Thread, expected_version: int) -> bool:
    return own.tiers.redis.put_thread(one, expected_version=expected_version)


def make_thread(user: str) -> Thread:
    moment = ids.timestamp(CLOCK.now_us())
    return Thread(
        version=1,
        id="t",
        user_id=user,
        title="hello",
        metadata={},
        created_at=moment,
        updated_at=moment,
    )


def make_state(user: str) -> StateRecord:
    whose = run(user)
    return StateRecord(
        version=1,
        updated_at=ids.timestamp(CLOCK.now_us()),
        kind=whose.kind,
        user_id=user,
        name=whose.name,
        expires_at=None,
        state=msgspec.Raw(b'{"n":1}'),
    )


KINDS = (
    Kind(
        name="message",
        make=message,
        put=put_message,
        refresh=lambda own, one: own.tiers.redis_repair.refresh([one]),
        key=lambda slot, one: keys.message(slot, one.id),
        decode=codec.decode,
        committed="SELECT version FROM messages WHERE user_id = :user",
        refuses=f"NOT starts_with(content, '{BAD}')",
        is_cached=False,
    ),
    Kind(
        name="thread",
        make=make_thread,
        put=put_thread,
        refresh=lambda own, one: own.tiers.redis_repair.refresh_thread(one),
        key=lambda slot, one: keys.thread(slot, one.user_id, one.id),
        decode=codec.decode_thread,
        committed="SELECT version FROM threads WHERE user_id = :user",
        refuses=f"NOT starts_with(title, '{BAD}')",
        is_cached=False,
    ),
    Kind(
        name="state",
        make=make_state,
        put=lambda own, one, version: own.tiers.state_cache.save_primary_state(
            one, expected_version=version
        ),
        refresh=lambda own, one: own.tiers.state_cache.cache_state_in_redis(one),
        key=lambda slot, one: keys.state(slot, one.user_id, one.name),
        decode=codec.decode_state,
        committed="SELECT version FROM state_records WHERE user_id = :user",
        refuses=f"position('{BAD}' IN state::text) = 0",
        is_cached=True,
    ),
)
TABLES = {"message": "messages", "thread": "threads", "state": "state_records"}


class Subject:
    """The record of a test, and what the tiers have of it."""

    def __init__(self, own: Services, kind: Kind, user: str) -> None:
        self.own = own
        self.kind = kind
        self.user = user
        self.first = kind.make(user)
        self.slot = ids.shard_of(user, "r" if kind.name == "state" else "t") % own.settings.shards
        self.key = kind.key(self.slot, self.first)

    def version(self, number: int) -> Any:
        one = msgspec.structs.replace(self.first, version=number)
        return codec.seal(one) if isinstance(one, Message) else one

    def bad(self) -> Any:
        """A first version that PostgreSQL does not take while it is `refusing`."""
        field = {"message": "content", "thread": "title", "state": "state"}[self.kind.name]
        value: Any = f"{BAD}: {self.user}"
        value = msgspec.Raw(msgspec.json.encode({"n": value})) if field == "state" else value
        one = msgspec.structs.replace(self.first, **{field: value})
        return codec.seal(one) if isinstance(one, Message) else one

    def put(self, one: Any, expected_version: int) -> bool:
        return self.kind.put(self.own, one, expected_version)

    def hot(self) -> Any:
        """The version in Redis; None for none."""
        found: Any = self.own.tiers.redis_client.get(self.key)
        return found and self.kind.decode(found)

    def ttl(self) -> int:
        """-1 where the copy stays for ever, -2 where there is none."""
        return int(self.own.tiers.redis_client.ttl(self.key))

    def committed(self) -> int | None:
        with self.own.tiers.job_engine.connect() as connection:
            found = connection.execute(text(self.kind.committed), {"user": self.user})
            return found.scalar_one_or_none()

    def refusing(self) -> AbstractContextManager[str]:
        return refusing(self.own, self.kind.refuses, TABLES[self.kind.name])
