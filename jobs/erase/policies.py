"""How long messages are kept, and legal holds, per user and per thread of a user: what is on hold
is not erased, whoever asks."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection, Engine, Row

from jobs.audit import AuditTrail
from storage.errors import ErasureUnderWay, NotFound, OnHold
from storage.postgres.driver import execute, record_of, rows_of, translated

_UNDER_WAY = "SELECT count(*) FROM user_erasures WHERE user_id = :user_id AND finished_at IS NULL"
_COLUMNS = "user_id, thread_id, keep_days, legal_hold, set_by, set_at"
_ONE = (
    f"SELECT {_COLUMNS} FROM retention_policies"  # noqa: S608
    " WHERE user_id = :user_id AND thread_id = :thread_id"
)
_LIST = (
    f"SELECT {_COLUMNS} FROM retention_policies"  # noqa: S608
    " WHERE (user_id, thread_id) > (:after_user, :after_thread)"
    " ORDER BY user_id, thread_id LIMIT :limit"
)
_SET = f"""
INSERT INTO retention_policies (user_id, thread_id, keep_days, legal_hold, set_by)
VALUES (:user_id, :thread_id, :keep_days, :legal_hold, :by)
ON CONFLICT (user_id, thread_id) DO UPDATE SET keep_days = excluded.keep_days,
    legal_hold = excluded.legal_hold, set_by = excluded.set_by, set_at = clock_timestamp()
RETURNING {_COLUMNS}
"""  # noqa: S608
_LOCK = "LOCK TABLE retention_policies IN SHARE ROW EXCLUSIVE MODE"
_CLEAR = "DELETE FROM retention_policies WHERE user_id = :user_id AND thread_id = :thread_id"
# What no hold is on any more was edited or deleted by somebody who meant it.
_RELEASE = """
DELETE FROM held_versions v WHERE v.user_id = :user_id AND NOT EXISTS (
    SELECT FROM retention_policies p WHERE p.legal_hold
        AND p.user_id = v.user_id AND p.thread_id IN ('', v.thread_id))
"""
# Whoever sets a hold at this moment comes before or after, never in between.
_KEEP_HOLDS = "LOCK TABLE retention_policies IN SHARE MODE"
_HOLDS_OF = "SELECT count(*) FROM retention_policies WHERE user_id = :user_id AND legal_hold"
_HOLDS = "SELECT user_id, thread_id FROM retention_policies WHERE legal_hold"

NOT_ON_HOLD = (
    "NOT EXISTS (SELECT FROM retention_policies p WHERE p.legal_hold"
    " AND p.user_id = t.user_id AND p.thread_id IN ('', t.id))"
)
"""Of a row `t` of `threads`, in SQL."""


class Holds(frozenset[tuple[str, str]]):
    """Threads of users that are on hold; the empty thread stands for all of a user's."""

    def cover(self, user_id: str, thread_id: str) -> bool:
        """Whether a thread is on hold, or its user."""
        return (user_id, "") in self or (user_id, thread_id) in self


def refuse_held(connection: Connection, user_id: str) -> None:
    """Raises `OnHold` where any hold is on the user or a thread of theirs; none is set before the
    transaction ends."""
    execute(connection, _KEEP_HOLDS)
    if execute(connection, _HOLDS_OF, user_id=user_id).scalar_one():
        raise OnHold(user_id)


def all_holds(connection: Connection) -> Holds:
    """Every hold."""
    return Holds((row.user_id, row.thread_id) for row in execute(connection, _HOLDS))


class RetentionPolicy(msgspec.Struct, kw_only=True, frozen=True):
    """What holds for a user, or for one thread of theirs, which comes before what holds for the
    user. `keep_days` is the age at which messages go, null for never. A `legal_hold` beats
    everything: nothing under it is erased."""

    user_id: str
    thread_id: str | None
    keep_days: int | None
    legal_hold: bool
    set_by: str
    set_at: str


class RetentionPolicies:
    """The policies over one engine. Each verb raises `TierUnavailable`."""

    def __init__(self, engine: Engine, audit: AuditTrail) -> None:
        self._engine = engine
        self._audit = audit

    def set(
        self,
        user_id: str,
        thread_id: str | None,
        *,
        keep_days: int | UnsetType | None = UNSET,
        legal_hold: bool | UnsetType = UNSET,
        by: str,
    ) -> RetentionPolicy | None:
        """Sets what is given and leaves the rest; gives the policy, None where nothing is left.
        Raises `ErasureUnderWay` for a hold on a user who is being erased."""
        with translated(), self._engine.begin() as connection:
            execute(connection, _LOCK)
            before = _one(connection, user_id, thread_id)
            if isinstance(keep_days, UnsetType):
                keep_days = before.keep_days if before else None
            if isinstance(legal_hold, UnsetType):
                legal_hold = before.legal_hold if before else False
            names = {"user_id": user_id, "thread_id": thread_id or ""}
            if legal_hold and execute(connection, _UNDER_WAY, names).scalar_one():
                raise ErasureUnderWay
            if keep_days is None and not legal_hold:
                if before is not None:
                    self._clear(connection, before, by)
                return None
            given = {"keep_days": keep_days, "legal_hold": legal_hold}
            policy = _policy(execute(connection, _SET, **names, **given, by=by).one())
            self._record(connection, "retention.set", policy, by)
        return policy

    def clear(self, user_id: str, thread_id: str | None, *, by: str) -> RetentionPolicy:
        """Takes a policy away, a hold included; gives what it was. Raises `NotFound`."""
        with translated(), self._engine.begin() as connection:
            execute(connection, _LOCK)
            before = _one(connection, user_id, thread_id)
            if before is None:
                raise NotFound
            self._clear(connection, before, by)
        return before

    def list(
        self, *, limit: int, cursor: tuple[str, str] | None
    ) -> tuple[Sequence[RetentionPolicy], tuple[str, str] | None]:
        """At most `limit` policies after the cursor, by user and thread, and the next cursor."""
        after_user, after_thread = cursor or ("", "")
        values = {"after_user": after_user, "after_thread": after_thread, "limit": limit + 1}
        found = [_policy(row) for row in rows_of(self._engine, _LIST, values)]
        shown = found[:limit]
        last = (shown[-1].user_id, shown[-1].thread_id or "") if len(found) > limit else None
        return shown, last

    def _clear(self, connection: Connection, before: RetentionPolicy, by: str) -> None:
        execute(connection, _CLEAR, user_id=before.user_id, thread_id=before.thread_id or "")
        self._record(connection, "retention.cleared", before, by)

    def _record(
        self, connection: Connection, action: str, policy: RetentionPolicy, by: str
    ) -> None:
        released = execute(connection, _RELEASE, user_id=policy.user_id).rowcount
        details = {"keep_days": policy.keep_days, "legal_hold": policy.legal_hold}
        thread = f" thread:{policy.thread_id}" if policy.thread_id else ""
        subject = f"user:{policy.user_id}{thread}"
        counts = {"released_versions": released}
        self._audit.record(connection, by, action, subject, counts, details)


def _one(connection: Connection, user_id: str, thread_id: str | None) -> RetentionPolicy | None:
    row = execute(connection, _ONE, user_id=user_id, thread_id=thread_id or "").one_or_none()
    return None if row is None else _policy(row)


def _policy(row: Row[Any]) -> RetentionPolicy:
    return record_of(RetentionPolicy, row, thread_id=row.thread_id or None)
