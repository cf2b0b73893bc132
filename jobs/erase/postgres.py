"""A user's part of PostgreSQL: every table that names a user, found in the catalogue, so that a
later table and a detached week are covered. What names a message alone (outbox, lost
acknowledgements) goes with it; of dead letters the records name a user."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection

from jobs.erase.receipt import Target
from storage.errors import TierError
from storage.postgres import locks
from storage.postgres.driver import execute, translated
from storage.tiers import Tiers

BATCH_ROWS = 2_000
LETTERS_AT_ONCE = 500

# `key` is the column with the id of a message, where there is one. Partitions are reached by way of
# their table. A trail and a receipt name a user so that what was done stays known, and revoked
# tokens so that they stay so.
_TABLES = """
SELECT c.relname AS name, quote_ident(c.relname) AS quoted,
       (SELECT quote_ident(k.attname) FROM pg_attribute k
        WHERE k.attrelid = c.oid AND k.attname IN ('id', 'message_id')
          AND k.atttypid = 'uuid'::regtype AND NOT k.attisdropped LIMIT 1) AS key
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition AND a.attname = 'user_id' AND NOT a.attisdropped
  AND c.relname NOT IN ('user_erasures', 'token_revocations', 'threads', 'dead_letters')
ORDER BY c.relname <> 'messages', c.relname
"""
_LEAVES = (
    "SELECT DISTINCT tableoid::regclass::text FROM messages"
    " WHERE user_id = :user_id AND id <= :through"
)
_WITH_THEM = {
    # One that is being shipped finds no message any more.
    "clickhouse_outbox": (
        "DELETE FROM clickhouse_outbox WHERE sequence IN (SELECT sequence FROM clickhouse_outbox"
        " WHERE message_id = ANY(CAST(:ids AS uuid[])) FOR UPDATE SKIP LOCKED)"
    ),
    "lost_acknowledgements": (
        "DELETE FROM lost_acknowledgements WHERE message_id = ANY(CAST(:ids AS uuid[]))"
    ),
}
_THREADS = (
    "SELECT id FROM threads WHERE user_id = :user_id AND created_at <= :moment"
    " AND id > :after ORDER BY id LIMIT :batch"
)
# A thread in which the user has written since stays, as what those messages make of it.
_RENEW = """
UPDATE threads t SET title = NULL, metadata = '{}', deleted_at = NULL, deleted_through = NULL,
       erased_through = NULL, purged_through = NULL, is_pinned = false, is_archived = false,
       created_at = m.first, updated_at = m.first,
       last_message_at = m.last, message_count = m.live
FROM (SELECT thread_id, min(created_at) AS first, max(created_at) AS last,
             count(*) FILTER (WHERE deleted_at IS NULL) AS live
      FROM messages WHERE user_id = :user_id AND thread_id = ANY(:threads) AND id > :through
      GROUP BY thread_id) m
WHERE t.user_id = :user_id AND t.id = m.thread_id AND t.created_at <= :moment
"""
_DROP = (
    "DELETE FROM threads WHERE user_id = :user_id AND id = ANY(:threads) AND created_at <= :moment"
)
_COUNT_THREADS = "SELECT count(*) FROM threads WHERE user_id = :user_id AND created_at <= :moment"
_MAY_VACUUM = """
SELECT CASE WHEN current_setting('server_version_num')::int >= 170000
            THEN has_table_privilege(oid, 'MAINTAIN')
            ELSE pg_has_role(relowner, 'USAGE') END
FROM pg_class WHERE oid = to_regclass(:name)
"""
_LETTERS = "SELECT id, kind, record FROM dead_letters WHERE id > :after ORDER BY id LIMIT :batch"
_DROP_LETTERS = "DELETE FROM dead_letters WHERE id = ANY(:ids)"


_WRITTEN_AT = {"state_records": "updated_at", "checkpoints": "created_at"}
"""Tables whose rows are of a time: what was written after the erasure stays."""


class _Table(NamedTuple):
    name: str
    quoted: str
    key: str | None

    @property
    def condition(self) -> str:
        if self.name in _WRITTEN_AT:
            return f"user_id = :user_id AND {_WRITTEN_AT[self.name]} <= :moment"
        if self.name == "thread_heads":
            # A chain goes on in a thread that the user has written to since.
            return (
                "user_id = :user_id AND NOT EXISTS (SELECT FROM threads t"
                " WHERE t.user_id = thread_heads.user_id AND t.id = thread_heads.thread_id)"
            )
        if self.key is None:
            return "user_id = :user_id"
        if self.name == "redis_backfill":
            # A note of a thread or a state that is there again is about what is to stay.
            return (
                f"user_id = :user_id AND ({self.key} <= :through OR {self.key} IS NULL AND NOT"  # noqa: S608
                f" EXISTS (SELECT FROM threads t WHERE t.user_id = {self.quoted}.user_id"
                f" AND t.id = {self.quoted}.thread_id) AND NOT EXISTS (SELECT FROM state_records s"
                f" WHERE s.user_id = {self.quoted}.user_id AND s.kind = {self.quoted}.state_kind"
                f" AND s.name = {self.quoted}.thread_id AND s.updated_at > :moment))"
            )
        return f"user_id = :user_id AND {self.key} <= :through"


class PostgresEraser:
    """Counts and removes what PostgreSQL has of a user. Errors leave as `TierError`."""

    def __init__(self, tiers: Tiers) -> None:
        self._engine = tiers.job_engine
        self._slots = tiers.settings.shards

    def clear(self, target: Target) -> tuple[dict[str, int], list[str]]:
        """Takes out everything; gives counts by table, and which tables VACUUM is to pass."""
        counts: Counter[str] = Counter()
        with translated(), self._engine.begin() as connection:
            tables = _tables(connection)
            leaves = list(execute(connection, _LEAVES, _values(target)).scalars())
        counts["threads"] = self._clear_threads(target)
        with translated(), self._engine.begin() as connection:
            letters = list(_letters(connection, target))
            execute(connection, _DROP_LETTERS, ids=letters)
        counts["dead_letters"] = len(letters)
        for table in tables:
            counts[table.name] = 0
            while gone := self._clear_batch(table, target, counts):
                counts[table.name] += gone
        touched = [name for name, count in counts.items() if count and name != "messages"]
        return dict(counts), sorted({*leaves, *touched})

    def count(self, target: Target) -> dict[str, int]:
        """Counts by table what is there."""
        counts = {}
        with translated(), self._engine.begin() as connection:
            for table in _tables(connection):
                query = f"SELECT count(*) FROM {table.quoted} WHERE {table.condition}"  # noqa: S608
                counts[table.name] = _number(connection, query, target)
            counts["threads"] = execute(connection, _COUNT_THREADS, _values(target)).scalar_one()
            counts["dead_letters"] = sum(1 for _ in _letters(connection, target))
        return counts

    def vacuum(self, tables: list[str]) -> list[str]:
        """Has the space of deleted rows given up; gives the tables where that failed, or where this
        login has no right to it: PostgreSQL passes over those without an error."""
        left = []
        for table in tables:
            try:
                with translated(), self._engine.connect() as plain:
                    connection = plain.execution_options(isolation_level="AUTOCOMMIT")
                    quoted = connection.dialect.identifier_preparer.quote(table)
                    may = execute(connection, _MAY_VACUUM, name=quoted).scalar_one_or_none()
                    if may:
                        connection.exec_driver_sql(f"VACUUM {quoted}")
                    elif may is not None:
                        left.append(table)
            except TierError:
                left.append(table)
        return left

    def _clear_batch(self, table: _Table, target: Target, counts: Counter[str]) -> int:
        found = table.key or "ctid"
        statement = (
            f"DELETE FROM {table.quoted} WHERE {table.condition} AND {found} = ANY(ARRAY("  # noqa: S608
            f"SELECT {found} FROM {table.quoted} WHERE {table.condition} LIMIT {BATCH_ROWS}))"
            f" RETURNING {f'{table.key}::text' if table.key else 'NULL'}"
        )
        if table.name == "redis_backfill":
            # One that is being carried to Redis is gone in a moment.
            statement = (
                "DELETE FROM redis_backfill WHERE sequence IN (SELECT sequence FROM redis_backfill"  # noqa: S608
                f" WHERE {table.condition} FOR UPDATE SKIP LOCKED) RETURNING NULL"
            )
        with translated(), self._engine.begin() as connection:
            gone = execute(connection, statement, _values(target)).scalars().all()
            ids = [one for one in gone if one is not None]
            if ids:
                for name, delete in _WITH_THEM.items():
                    counts[name] += execute(connection, delete, ids=ids).rowcount
        return len(gone)

    def _clear_threads(self, target: Target) -> int:
        gone, after = 0, ""
        while True:
            with translated(), self._engine.begin() as connection:
                # Whoever adds a message to one of them counts it there.
                locks.lock_slots(connection, range(self._slots), locks.PATIENCE)
                values = {**_values(target), "after": after, "batch": BATCH_ROWS}
                threads = list(execute(connection, _THREADS, values).scalars())
                if not threads:
                    return gone
                named = {**_values(target), "threads": threads}
                gone += execute(connection, _RENEW, named).rowcount
                gone += execute(connection, _DROP, named).rowcount
            after = threads[-1]


def _tables(connection: Connection) -> list[_Table]:
    return [_Table(*row) for row in execute(connection, _TABLES)]


def _values(target: Target) -> dict[str, Any]:
    return {"user_id": target.user_id, "through": target.through, "moment": target.moment}


def _number(connection: Connection, query: str, target: Target | None = None) -> int:
    values = _values(target) if target else {}
    return int(execute(connection, query, values).scalar_one())


def _letters(connection: Connection, target: Target) -> Iterator[int]:
    after = 0
    while True:
        rows = execute(connection, _LETTERS, after=after, batch=LETTERS_AT_ONCE).all()
        yield from (row.id for row in rows if target.covers(row.kind, bytes(row.record)))
        if len(rows) < LETTERS_AT_ONCE:
            return
        after = rows[-1].id
