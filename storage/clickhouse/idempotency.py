"""The Idempotency-Keys that ClickHouse knows, of direct writes and those published to it. It is
asked while PostgreSQL is down, and before a direct write."""

from collections.abc import Iterator, Mapping

import msgspec
from sqlalchemy import func, select, union_all

from models.appends import Key, Made
from models.clickhouse_tables import direct_writes, told_keys
from storage.clickhouse.driver import LIST_BYTES, ClickHouse, batches
from storage.resilience import bites
from storage.resilience.breaker import Breaker

BATCH = 5_000
"""Keys in one insert: less than a megabyte, and few parts for ClickHouse to merge."""


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
        for some in batches(wanted, lambda key: 2 * repr((key.user_id, key.key)), LIST_BYTES // 2):
            made |= self._made({key: wanted[key] for key in some})
        return made

    def _made(self, wanted: Mapping[Key, str]) -> dict[Key, str]:
        users, names = {key.user_id for key in wanted}, {key.key for key in wanted}
        listed, published = direct_writes.c, told_keys.c
        query = union_all(
            select(listed.user_id, listed.thread_id, listed.idempotency_key, listed.id).where(
                listed.user_id.in_(users), listed.idempotency_key.in_(names)
            ),
            select(
                published.user_id, published.thread_id, published.idempotency_key, published.id
            ).where(
                published.user_id.in_(users),
                published.idempotency_key.in_(names),
                published.told_at >= func.subtractSeconds(func.now(), self._idempotency_seconds),
            ),
        )
        with self._breaker.guard():
            rows = self._server.rows(query)
        made: dict[Key, str] = {}
        for user_id, thread_id, name, message_id in rows:
            key, found = Key(user_id, thread_id, name), str(message_id)
            if key in wanted and found > wanted[key]:
                made[key] = min(found, made.get(key, found))
        return made

    def hash_of(self, key: Key, message_id: str) -> str:
        """The hash of the message that a key made, empty where it was not published."""
        published = told_keys.c
        query = select(published.content_hash).where(
            published.user_id == key.user_id,
            published.idempotency_key == key.key,
            published.thread_id == key.thread_id,
            published.id == message_id,
        )
        with self._breaker.guard():
            rows = self._server.rows(query)
        return max((row.content_hash for row in rows), default="")

    def tell(self, made: Mapping[Key, Made]) -> None:
        """Notes keys of acknowledged messages, in the order given."""
        for rows in bites.batches(_rows(made), BATCH):
            with self._breaker.guard():
                self._server.insert("told_keys", b"\n".join(rows))


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
