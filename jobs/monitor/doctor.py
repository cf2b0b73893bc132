"""Checks every server, setting and clock, and says what to do about what it finds."""

from storage.availability.checks.clickhouse import check_clickhouse
from storage.availability.checks.finding import Finding
from storage.availability.checks.network import judge_network
from storage.availability.checks.postgres import check_postgres
from storage.availability.checks.redis import check_broker, check_redis
from storage.availability.checks.secrets import judge_secrets
from storage.tiers import Tiers


def examine(tiers: Tiers) -> list[Finding]:
    """One finding for each check, tier by tier. A tier that is down is a finding, no error."""
    settings = tiers.settings
    return [
        *judge_secrets(settings),
        *judge_network(settings),
        *check_redis(tiers.redis_client, tiers.pending_log),
        *check_broker(settings),
        *check_postgres(tiers.job_engine, settings.partition_weeks_ahead),
        *check_clickhouse(tiers.job_clickhouse),
    ]
