"""Checks every server, setting and clock, and says what to do about what it finds."""

from jobs import audit_chain
from storage.availability.checks.clickhouse import check_clickhouse
from storage.availability.checks.finding import Finding, found
from storage.availability.checks.network import judge_network
from storage.availability.checks.postgres import POSTGRES, check_postgres
from storage.availability.checks.redis import check_broker, check_redis
from storage.availability.checks.secrets import judge_secrets
from storage.errors import TierError
from storage.postgres.backlog import is_unfinished
from storage.postgres.driver import transact
from storage.tiers import Tiers

LATEST_ENTRIES = 1_000
AUDIT_ADVICE = (
    "`threadkeep audit --verify` names everything; keep both copies as they are, and find out who"
    " owned the tables meanwhile"
)


def examine(tiers: Tiers) -> list[Finding]:
    """One finding for each check, tier by tier. A tier that is down is a finding, no error."""
    settings = tiers.settings
    postgres = check_postgres(tiers.job_engine, settings.partition_weeks_ahead)
    is_down = any(finding.severity == "down" for finding in postgres)
    return [
        *judge_secrets(settings),
        *judge_network(settings),
        *check_redis(tiers.redis_client, tiers.pending_log),
        *check_broker(settings),
        *postgres,
        *(() if is_down else _check_audit(tiers)),
        *check_clickhouse(tiers.job_clickhouse),
    ]


def _check_audit(tiers: Tiers) -> list[Finding]:
    """The end of the audit trail's chain; `threadkeep audit --verify` takes all of it."""
    try:
        if transact(tiers.job_engine, is_unfinished):
            # Entries come back into their places.
            return []
        seen = audit_chain.verify(tiers.job_engine, tiers.job_clickhouse, LATEST_ENTRIES)
    except TierError:
        # The tier that does not answer has a finding of its own.
        return []
    what = f"{seen.position:,} entries, the last {seen.entries:,} as they were written"
    told = "; ".join(seen.problems) or what
    return [found(POSTGRES, "audit trail", seen.is_whole, told, AUDIT_ADVICE)]
