"""Rows as JSON, of a recovery or a backup, become rows of PostgreSQL again. Columns are those that
both know, so that rows of an older schema fit a newer one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from storage.errors import TierRejected
from storage.postgres.driver import execute
from storage.resilience.bites import batches

BATCH_ROWS = 5_000

APART = frozenset({"threads", "redis_state", "archive_boundary"})
"""Tables whose rows need more thought than being there."""

APPEND_ONLY = frozenset({"audit_trail"})
"""Tables whose rows nobody may change, not even to what they are."""

_RESTORING = "SELECT set_config('threadkeep.restoring', 'on', true)"
_TABLE = """
SELECT attname AS name, attidentity <> '' AS is_numbered,
       EXISTS (SELECT FROM pg_index WHERE indrelid = attrelid AND indisprimary
               AND attnum = ANY (indkey)) AS is_key
FROM pg_attribute
WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
_AUDIT = """
INSERT INTO audit_trail (id, at, actor, action, subject, counts, details)
SELECT id, at, actor, action, subject, counts::json, details::json
FROM json_to_recordset(CAST(:rows AS json)) AS r (
    id uuid, at timestamptz, actor text, action text, subject text, counts text, details text)
ON CONFLICT DO NOTHING
"""


class _Column(NamedTuple):
    name: str
    is_numbered: bool
    is_key: bool


def begin(connection: Connection) -> None:
    """Has the caller's transaction queue no copies of what it restores."""
    execute(connection, _RESTORING)


def restore_tables(
    connection: Connection, tables: Mapping[str, Sequence[str]], *, replace: bool
) -> dict[str, int]:
    """Restores rows of several tables, whichever refers to which; gives how many of each.
    What is there stays, unless it is to be replaced. A table that does not exist is left out."""
    left = [name for name in tables if name not in APART]
    done: dict[str, int] = {}
    while left:
        waiting = []
        for name in left:
            try:
                with connection.begin_nested():
                    replaces = replace and name not in APPEND_ONLY
                    done[name] = _restore(connection, name, tables[name], replaces)
            except IntegrityError:
                # Its rows refer to those of another table, which comes later in the list.
                waiting.append(name)
        if waiting == left:
            raise TierRejected("postgresql", f"{', '.join(left)} cannot be restored")
        left = waiting
    return done


def restore_audit(connection: Connection, rows: Sequence[str]) -> tuple[str, str]:
    """Restores entries of the audit trail, which are in ClickHouse already; gives the moment and
    the id of the last."""
    execute(connection, _AUDIT, rows=_array(rows))
    last = msgspec.json.decode(rows[-1], type=dict[str, str])
    return last["at"], last["id"]


def restore_threads(connection: Connection, rows: Sequence[str]) -> int:
    """Restores threads' own data where newer, and their watermarks where higher; gives how many
    rows there were. What messages say of a thread is left to be counted."""

    def newer(names: Sequence[str]) -> str:
        rules = (f"{name} = {_THREAD_RULES.get(name, _NEWER.format(name))}" for name in names)
        return f"(user_id, id) DO UPDATE SET {', '.join(rules)}"

    _insert(connection, "threads", _columns(connection, "threads"), rows, newer)
    return len(rows)


# One that nobody named has nothing to lose: a message opened it while its own data was lost.
_IS_NEWER = """(excluded.version > threads.version OR (excluded.version = threads.version AND
    threads.title IS NULL AND threads.metadata::text = '{{}}' AND threads.deleted_at IS NULL
    AND NOT threads.is_pinned AND NOT threads.is_archived))"""
_NEWER = f"CASE WHEN {_IS_NEWER} THEN excluded.{{0}} ELSE threads.{{0}} END"
_THREAD_RULES = {
    "created_at": "least(threads.created_at, excluded.created_at)",
    "deleted_through": "greatest(threads.deleted_through, excluded.deleted_through)",
    "message_count": "threads.message_count",
    "last_message_at": "threads.last_message_at",
}


def _restore(connection: Connection, table: str, rows: Sequence[str], replace: bool) -> int:
    found = _columns(connection, table)
    if not found:
        return 0
    keys = ", ".join(column.name for column in found if column.is_key)
    # A number that PostgreSQL gave may be restored, but never changed.
    fixed = {column.name for column in found if column.is_key or column.is_numbered}

    def replaced(names: Sequence[str]) -> str:
        updates = ", ".join(f"{name} = excluded.{name}" for name in names if name not in fixed)
        return f"({keys}) DO UPDATE SET {updates}" if replace and updates else "DO NOTHING"

    restored = _insert(connection, table, found, rows, replaced)
    for column in found:
        if column.is_numbered:
            continued = (
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column.name}'),"  # noqa: S608
                f" max({column.name})) FROM {table} HAVING count(*) > 0"
            )
            execute(connection, continued)
    return restored


def _columns(connection: Connection, table: str) -> list[_Column]:
    return [_Column(*row) for row in execute(connection, _TABLE, name=table)]


def _insert(
    connection: Connection,
    table: str,
    found: Sequence[_Column],
    rows: Iterable[str],
    on_conflict: Callable[[Sequence[str]], str],
) -> int:
    """Inserts rows, with what is to be done in a conflict for the columns that they name."""
    done = 0
    for batch, names in _alike(rows, [column.name for column in found]):
        listed = ", ".join(names)
        statement = (
            f"INSERT INTO {table} ({listed}) OVERRIDING SYSTEM VALUE"  # noqa: S608
            f" SELECT {listed} FROM json_populate_recordset(NULL::{table}, CAST(:rows AS json))"
            f" ON CONFLICT {on_conflict(names)}"
        )
        done += execute(connection, statement, rows=_array(batch)).rowcount
    return done


def _alike(rows: Iterable[str], known: Sequence[str]) -> Iterable[tuple[list[str], list[str]]]:
    """The rows in batches of those that name the same columns, with these."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        named = msgspec.json.decode(row, type=dict[str, msgspec.Raw])
        names = tuple(name for name in known if name in named)
        groups.setdefault(names, []).append(row)
    for names, alike in groups.items():
        for batch in batches(alike, BATCH_ROWS):
            yield batch, list(names)


def _array(rows: Sequence[str]) -> str:
    return f"[{','.join(rows)}]"
