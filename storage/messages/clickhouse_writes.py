"""Writes straight to ClickHouse while neither Redis nor PostgreSQL can take them.

A write is listed as a direct write before it is among the messages, so that none is there which
nobody would replay to PostgreSQL.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from models import codec
from models.appends import Append
from models.message import Message
from storage.availability.bypass import BypassRegistration
from storage.availability.probes import Breakers
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.idempotency import ClickHouseKeys
from storage.errors import TierError
from storage.messages.append_plan import AcknowledgedBefore, Answer, AppendPlan, keyed, wanted_of
from storage.resilience import budget

VERSION_STEP = 1_000_000
"""More than PostgreSQL's own step, and as much again at random: nothing here compares and sets."""

OTHERS_SECONDS = 1.0
"""How long after Redis went out every process has surely told ClickHouse the keys it acknowledged:
0.1 s until its watch looks at Redis (0.3 s if that was out before), 0.25 s until it has no answer,
0.1 s for the insert, and as much again for a machine that is busy."""

POSTGRES_KEYS_SECONDS = 0.6
"""Likewise after PostgreSQL did: those it took beside Redis are told every 0.3 s anyway."""


class DirectWrite(NamedTuple):
    """A version as it stands on the list."""

    message: Message
    record: bytes
    idempotency_key: str | None


class DirectClickHouse:
    """The write verbs beside Redis and PostgreSQL."""

    def __init__(
        self,
        server: ClickHouse,
        breakers: Breakers,
        keys: ClickHouseKeys,
        bypass: BypassRegistration,
        announce: Callable[[], None],
    ) -> None:
        """`announce` tells PostgreSQL that something waits here; raises `TierUnavailable`."""
        self._server = server
        self._breakers = breakers
        self._breaker = breakers.clickhouse
        self._keys = keys
        self._bypass = bypass
        self._announce = announce
        self._has_written = False

    def await_others(self, appends: Sequence[Append]) -> None:
        """Returns when every process has told ClickHouse what keys of these may have made.

        Waits only where a key is given, and only in the first moments of an outage. Raises
        `TierUnavailable` where there is no time for that.
        """
        if not self._breaker.is_closed or not any(map(keyed, appends)):
            return
        until = max(
            self._breakers.redis.opened_at + OTHERS_SECONDS,
            self._breakers.postgresql.opened_at + POSTGRES_KEYS_SECONDS,
        )
        budget.sleep("clickhouse", max(0.0, until - time.monotonic()))

    def append(self, appends: Sequence[Append]) -> list[Answer]:
        """Inserts new messages. A key that ClickHouse knows gives the message it made."""
        with self._breaker.guard():
            self._bypass.acquire()
        # Only now: others may have told keys meanwhile.
        made = self._keys.made(wanted_of(appends))
        size = sum(append.size for append in appends)
        with budget.moving(size), self._breaker.guard(is_bulk=size > budget.LARGE_BYTES):
            plan = AppendPlan(appends, AcknowledgedBefore({}, made))
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
            self._bypass.acquire()
            self._insert([DirectWrite(message, codec.encode(message), None)])

    def announce(self) -> None:
        """Tells everyone that something waits here, once PostgreSQL answers this process again.

        To the others it may never have been out. Raises `TierUnavailable`.
        """
        if not self._has_written:
            return
        self._has_written = False
        try:
            self._announce()
        except TierError:
            self._has_written = True
            raise

    def _insert(self, writes: Sequence[DirectWrite]) -> None:
        if not writes:
            return
        self._has_written = True
        listed = b"\n".join(msgspec.json.encode(_listed(write)) for write in writes)
        self._server.insert("direct_writes", listed)
        rows = b"\n".join(write.record for write in writes)
        self._server.insert("messages", rows)


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
