"""What is written of states in PostgreSQL, each verb inside the caller's transaction."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row

from models import codec
from models.state import StateName, StateRecord
from storage.postgres.driver import execute, record_of

_GIVEN = """
given AS (
    SELECT * FROM json_to_recordset(CAST(:records AS json)) AS r (
        version bigint, updated_at timestamptz, kind text, user_id text, name text,
        expires_at timestamptz, deleted_at timestamptz, checkpoint text, is_checkpoint boolean,
        cleared_through bigint, state json)
), erased AS (
    SELECT user_id, erased_at FROM user_erasures WHERE user_id IN (SELECT user_id FROM given)
), brought_back AS (
    UPDATE user_erasures SET finished_at = NULL WHERE user_id IN (
        SELECT user_id FROM given JOIN erased USING (user_id) WHERE given.updated_at <= erased_at)
    AND finished_at IS NOT NULL
), fresh AS (
    SELECT g.* FROM given g LEFT JOIN erased e USING (user_id)
    WHERE e.erased_at IS NULL OR g.updated_at > e.erased_at
), newest AS (
    SELECT DISTINCT ON (kind, user_id, name) * FROM fresh
    ORDER BY kind, user_id, name, version DESC
), known AS (
    SELECT n.kind, n.user_id, n.name,
           greatest(n.cleared_through, coalesce(s.cleared_through, 0)) AS cleared_through
    FROM newest n LEFT JOIN state_records s USING (kind, user_id, name)
)"""
_INSERT = """
    INSERT INTO state_records (kind, user_id, name, version, updated_at, expires_at, deleted_at,
                               checkpoint, is_checkpoint, cleared_through, state)
    SELECT kind, user_id, name, version, updated_at, expires_at, deleted_at,
           checkpoint, is_checkpoint, cleared_through, state
    FROM newest ORDER BY kind, user_id, name
    ON CONFLICT (kind, user_id, name) DO UPDATE SET
        version = excluded.version, updated_at = excluded.updated_at,
        expires_at = excluded.expires_at, deleted_at = excluded.deleted_at,
        checkpoint = excluded.checkpoint, is_checkpoint = excluded.is_checkpoint,
        cleared_through = excluded.cleared_through, state = excluded.state
"""
# A checkpoint of a life of the run that is over is neither kept nor taken in.
_CHECKPOINTS = """
dropped AS (
    DELETE FROM checkpoints c USING known k
    WHERE k.kind = 'run' AND c.user_id = k.user_id AND c.run_id = k.name
      AND c.version <= k.cleared_through
), kept AS (
    INSERT INTO checkpoints (user_id, run_id, version, created_at, level, state)
    SELECT DISTINCT ON (f.user_id, f.name, f.version)
           f.user_id, f.name, f.version, f.updated_at, f.checkpoint, f.state
    FROM fresh f JOIN known k USING (kind, user_id, name)
    WHERE f.is_checkpoint AND f.version > k.cleared_through {condition}
    ORDER BY f.user_id, f.name, f.version
    ON CONFLICT DO NOTHING
)"""
_IS_NEWER = """
state_records.version < excluded.version OR EXISTS (
    SELECT FROM erased e
    WHERE e.user_id = state_records.user_id AND state_records.updated_at <= e.erased_at)
"""


def _written_where(condition: str, *, checkpoints: str) -> str:
    """Writes states where a condition is met, with the checkpoints that meet another."""
    kept = _CHECKPOINTS.format(condition=checkpoints)
    stored = f"stored AS ({_INSERT} WHERE {condition} RETURNING 1)"
    return f"WITH {_GIVEN}, {stored}, {kept} SELECT count(*) FROM stored"  # noqa: S608


_UPSERT = _written_where(_IS_NEWER, checkpoints="")
_REPLACE = _written_where(
    "state_records.version = :expected_version", checkpoints="AND EXISTS (SELECT FROM stored)"
)
_FIND = """
SELECT s.*, s.state::text AS state_text, coalesce(s.updated_at <= e.erased_at, false) AS is_erased
FROM json_to_recordset(CAST(:names AS json)) AS r (kind text, user_id text, name text)
JOIN state_records s USING (kind, user_id, name)
LEFT JOIN user_erasures e ON e.user_id = s.user_id
"""
_BACKFILL = """
INSERT INTO redis_backfill (user_id, thread_id, state_kind)
SELECT user_id, name, kind
FROM json_to_recordset(CAST(:names AS json)) AS r (kind text, user_id text, name text)
"""
_VERSION = (
    "SELECT version FROM state_records WHERE kind = :kind AND user_id = :user_id AND name = :name"
)


def upsert(connection: Connection, records: Sequence[bytes]) -> int:
    """Writes versions where they are newer, with their checkpoints; gives how many states were.
    Of one state only the newest counts. Nothing comes in of a user from before their erasure."""
    return int(execute(connection, _UPSERT, records=codec.json_array(records)).scalar_one())


def replace(connection: Connection, record: StateRecord, expected_version: int) -> bool:
    """Writes a version in the place of the one it rests on, or of none; gives whether it did."""
    values = {
        "records": codec.json_array([codec.encode(record)]),
        "expected_version": expected_version,
    }
    return bool(execute(connection, _REPLACE, values).scalar_one())


def find(connection: Connection, names: Iterable[StateName]) -> list[StateRecord]:
    """Those of these states that are there, with a tombstone for one whose user was erased."""
    found = execute(connection, _FIND, names=_listed(names))
    return [_state_of(row).buried() if row.is_erased else _state_of(row) for row in found]


def queue_backfill(connection: Connection, names: Iterable[StateName]) -> None:
    """Notes that Redis lacks these states, or has them in an older version."""
    execute(connection, _BACKFILL, names=_listed(names))


def known_version(connection: Connection, user_id: str, name: str) -> int | None:
    """The committed version of a state."""
    values = {"kind": "run" if name else "session", "user_id": user_id, "name": name}
    version: int | None = execute(connection, _VERSION, values).scalar_one_or_none()
    return version


def _state_of(row: Row[Any]) -> StateRecord:
    return record_of(StateRecord, row, state=msgspec.Raw(row.state_text.encode()))


def _listed(names: Iterable[StateName]) -> str:
    return codec.text([name._asdict() for name in names])
