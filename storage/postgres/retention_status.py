"""When retention was last applied, as the audit trail tells: a run that never came is seen too."""

from datetime import timedelta

import msgspec
from sqlalchemy import Connection

from storage.postgres.driver import execute, rfc3339

OVERDUE = timedelta(hours=36)
"""A daily run that is half a day late."""

_LAST = """
SELECT p.policies, a.at, a.counts, a.details,
       clock_timestamp() - coalesce(a.at, p.since) AS ago
FROM (SELECT count(*) AS policies, min(set_at) AS since FROM retention_policies
      WHERE keep_days IS NOT NULL) p
LEFT JOIN LATERAL (SELECT at, counts, details FROM audit_trail
                   WHERE action = 'retention.applied' ORDER BY id DESC LIMIT 1) a ON true
"""


class RetentionState(msgspec.Struct, kw_only=True, frozen=True):
    """The last run: when, how many messages were due and erased, how many are left, and what kept
    it from looking everywhere. `at` is null where there was none yet."""

    policies: int
    at: str | None
    due: int = 0
    erased: int = 0
    left: int = 0
    incomplete: str = ""
    is_overdue: bool = False


def last_run(connection: Connection) -> RetentionState | None:
    """The state of retention; None where no policy has an age."""
    row = execute(connection, _LAST).one()
    if not row.policies:
        return None
    counts = {name: (row.counts or {}).get(name, 0) for name in ("due", "erased", "left")}
    incomplete = (row.details or {}).get("incomplete", "")
    return RetentionState(
        policies=row.policies,
        at=rfc3339(row.at) if row.at else None,
        incomplete=incomplete,
        is_overdue=bool(row.ago > OVERDUE or counts["left"] or incomplete),
        **counts,
    )
