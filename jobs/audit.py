"""The audit trail: who did what, when, to whom and to how many; never what was written. An entry is
written in the transaction of what it records. PostgreSQL refuses to change or remove one."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine

from models import codec, ids
from models.ids import Clock
from storage.postgres.driver import execute, record_of, rows_of, transact

SYSTEM = "system"
"""The actor of what happens by the clock."""

_RECORD = """
WITH entry AS (
    INSERT INTO audit_trail (id, at, actor, action, subject, counts, details)
    VALUES (:id, :at, :actor, :action, :subject, :counts, :details) RETURNING id
)
INSERT INTO audit_outbox (audit_id) SELECT id FROM entry
"""
_ENTRIES = """
SELECT id::text AS id, at, actor, action, subject, counts, details FROM audit_trail
WHERE (CAST(:since AS timestamptz) IS NULL OR at >= :since)
  AND (CAST(:actor AS text) IS NULL OR actor IN (:actor, 'user:' || :actor))
  AND (CAST(:action AS text) IS NULL OR action = :action)
  AND (CAST(:cursor AS uuid) IS NULL OR id < :cursor)
ORDER BY audit_trail.id DESC LIMIT :limit
"""


def subject_of(user_id: str | None, thread_id: str | None) -> str:
    """The subject of what was done to a user's threads, to threads of one name, or to all."""
    named = (("user", user_id), ("thread", thread_id))
    return " ".join(f"{kind}:{name}" for kind, name in named if name is not None) or "everyone"


class AuditEntry(msgspec.Struct, kw_only=True, frozen=True):
    """One act. `action` is `<noun>.<verb>`, as `archive.partition`; `subject` names what it was
    done to, as `user:ann`; `counts` say how many of what."""

    id: str
    at: str
    actor: str
    action: str
    subject: str
    counts: dict[str, int] = {}
    details: dict[str, Any] = {}


class AuditTrail:
    """Entries are added and read, and nothing else."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def record(
        self,
        connection: Connection,
        actor: str,
        action: str,
        subject: str,
        counts: Mapping[str, int] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds an entry in the caller's transaction."""
        now_us = self._clock.now_us()
        entry = {
            "id": ids.mint(now_us, 0),
            "at": ids.timestamp(now_us),
            "actor": actor,
            "action": action,
            "subject": subject,
            "counts": codec.text(counts or {}),
            "details": codec.text(details or {}),
        }
        execute(connection, _RECORD, entry)

    def note(
        self,
        actor: str,
        action: str,
        subject: str,
        counts: Mapping[str, int] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds an entry by itself, for what PostgreSQL had no part in. Raises `TierUnavailable`."""
        transact(self._engine, self.record, actor, action, subject, counts, details)

    def entries(
        self,
        *,
        since: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        cursor: str | None = None,
        limit: int,
    ) -> list[AuditEntry]:
        """Entries, newest first, with ids below the cursor. `since` is RFC 3339; a user's entries
        are found by the user's id alone too, as older versions wrote them."""
        wanted = {"since": since, "actor": actor, "action": action, "cursor": cursor}
        rows = rows_of(self._engine, _ENTRIES, wanted | {"limit": limit})
        return [record_of(AuditEntry, row) for row in rows]
