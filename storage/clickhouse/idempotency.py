"""The Idempotency-Keys as ClickHouse knows them: of direct writes, and those it was told.

It is asked while PostgreSQL cannot say what a key has made, and before a direct write.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

import msgspec
from sqlalchemy import func, select, union_all

from models.appends import Key, Made
from models.clickhouse_tables import direct_writes, told_keys
from storage.clickhouse.driver import LIST_BYTES, ClickHouse, batches, translated
from storage.resilience.breaker import Breaker

BATCH = 5_000
"""Keys in one insert: less than a megabyte, and few parts for ClickHouse to merge."""


_ROOM = LIST_BYTES // 2


class ClickHouseKeys:
    """Key to message. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, server: ClickHouse, breaker: Breaker, idempotency_seconds: int) -> None:
        self._server = server
        self._breaker = breaker
        self._idempotency_seconds = idempotency_seconds

    def made(self, wanted: Mapping[Key, str]) -> dict[Key, str]:
        """The messages that these keys made, each above the id that it comes with, which is of
        what is gone; the first where there are two."""
        made: dict[Key, str] = {}
        # A query names users and keys twice, with what a text may hold escaped.
        for some in batches(wanted, lambda key: 2 * repr((key.user_id, key.key)), _ROOM):
            made |= self._made({key: wanted[key] for key in some})
        return made

    def _made(self, wanted: Mapping[Key, str]) -> dict[Key, str]:
        users, names = {key.user_id for key in wanted}, {key.key for key in wanted}
        listed, told = direct_writes.c, told_keys.c
        query = union_all(
            select(listed.user_id, listed.thread_id, listed.idempotency_key, listed.id).where(
                listed.user_id.in_(users), listed.idempotency_key.in_(names)
            ),
            select(told.user_id, told.thread_id, told.idempotency_key, told.id).where(
                told.user_id.in_(users),
                told.idempotency_key.in_(names),
                told.told_at >= func.subtractSeconds(func.now(), self._idempotency_seconds),
            ),
        )
        with (
            self._breaker.guard(),
            translated(),
            self._server.engine.connect() as connection,
        ):
            rows = connection.execute(query).all()
        made: dict[Key, str] = {}
        for user_id, thread_id, name, message_id in rows:
            key, found = Key(user_id, thread_id, name), str(message_id)
            if key in wanted and found > wanted[key]:
                made[key] = min(found, made.get(key, found))
        return made

    def hash_of(self, key: Key, message_id: str) -> str:
        """The hash of the message that a key made, empty where it was not told."""
        told = told_keys.c
        query = select(told.content_hash).where(
            told.user_id == key.user_id,
            told.idempotency_key == key.key,
            told.thread_id == key.thread_id,
            told.id == message_id,
        )
        with self._breaker.guard(), translated(), self._server.engine.connect() as connection:
            found = connection.execute(query).scalars().all()
        return max(found, default="")

    def tell(self, made: Mapping[Key, Made]) -> None:
        """Notes keys of acknowledged messages, in the order given."""
        rows = _rows(made)
        while batch := b"\n".join(islice(rows, BATCH)):
            with self._breaker.guard():
                self._server.insert("told_keys", batch)


def _rows(made: Mapping[Key, Made]) -> Iterator[bytes]:
    for key, one in made.items():
        yield msgspec.json.encode(
            {
                "user_id": key.user_id,
                "thread_id": key.thread_id,
                "idempotency_key": key.key,
                "id": one.message_id,
                "content_hash": one.content_hash,
            }
        )
