"""Writes straight to ClickHouse while neither Redis nor PostgreSQL can take them.

A write is put on the list of direct writes first and among the messages then, so that none is
there which nobody would bring home to PostgreSQL (see `homecoming`).
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import select

from models import codec
from models.clickhouse_tables import direct_writes
from models.message import Message
from storage.breakers import Breaker
from storage.clickhouse_driver import ClickHouse, translated
from storage.errors import TierError
from storage.failover.detour import Detour
from storage.failover.direct_postgres import Known, Plan, keyed
from storage.idempotency_keys import Key
from storage.redis_tier import Append, Behind, Stored

VERSION_STEP = 1_000_000
"""More than PostgreSQL's own step, and as much again at random: nothing here compares and sets."""


class DirectWrite(NamedTuple):
    """A version as it stands on the list."""

    message: Message
    record: bytes
    idempotency_key: str | None


class DirectClickHouse:
    """The write verbs beside Redis and PostgreSQL."""

    def __init__(self, server: ClickHouse, breaker: Breaker, detour: Detour) -> None:
        self._server = server
        self._breaker = breaker
        self._detour = detour
        self._has_written = False

    def append(self, appends: Sequence[Append]) -> list[Stored | Behind | TierError]:
        """Inserts new messages. A key of another direct write gives that one's message."""
        with self._breaker.guard():
            plan = Plan(appends, Known({}, self._made(appends)))
            keys = {message_id: key.key for key, message_id in plan.keys.items()}
            self._insert(
                [
                    DirectWrite(codec.decode(one.record), one.record, keys.get(one.id))
                    for one in plan.fresh.values()
                ]
            )
        return plan.answers()

    def revise(self, message: Message) -> None:
        """Inserts a version of a message."""
        with self._breaker.guard():
            self._insert([DirectWrite(message, codec.encode(message), None)])

    def say_so(self) -> None:
        """Tells everyone that something waits here, once PostgreSQL answers this process again.

        To the others it may never have been out. Raises `TierUnavailable`.
        """
        if not self._has_written:
            return
        self._has_written = False
        try:
            self._detour.say_clickhouse()
        except TierError:
            self._has_written = True
            raise

    def _made(self, appends: Sequence[Append]) -> dict[Key, str]:
        wanted = {key.key for append in appends for key, _ in keyed(append)}
        if not wanted:
            return {}
        listed = direct_writes.c
        query = select(listed.user_id, listed.thread_id, listed.idempotency_key, listed.id).where(
            listed.idempotency_key.in_(wanted)
        )
        with translated(), self._server.engine.connect() as connection:
            rows = connection.execute(query).all()
        return {Key(row.user_id, row.thread_id, row.idempotency_key): str(row.id) for row in rows}

    def _insert(self, writes: Sequence[DirectWrite]) -> None:
        if not writes:
            return
        self._has_written = True
        listed = b"\n".join(msgspec.json.encode(_listed(write)) for write in writes)
        self._server.insert("direct_writes", listed, _token(listed))
        rows = b"\n".join(write.record for write in writes)
        self._server.insert("messages", rows, _token(rows))


def version_after(version: int) -> int:
    """The version of a revision that is written here."""
    return version + VERSION_STEP + secrets.randbelow(VERSION_STEP)


def _listed(write: DirectWrite) -> dict[str, object]:
    return {
        "id": write.message.id,
        "version": write.message.version,
        "user_id": write.message.user_id,
        "thread_id": write.message.thread_id,
        "idempotency_key": write.idempotency_key or "",
        "record": write.record.decode(),
    }


def _token(rows: bytes) -> str:
    return hashlib.sha256(rows).hexdigest()
