"""Checks every server, setting and clock, and says what to do about what it finds."""

from sqlalchemy import Engine

from settings import MINIMUM_SECRET_BYTES, Settings
from storage import schema
from storage.clickhouse_checks import CLICKHOUSE, check_clickhouse
from storage.clickhouse_driver import ClickHouse
from storage.errors import TierError
from storage.finding import Finding, found
from storage.postgres_checks import MIGRATE, POSTGRES, check_postgres
from storage.redis_checks import check_broker, check_redis
from storage.services import Services


def examine(services: Services) -> list[Finding]:
    """One finding for each check, tier by tier. A tier that is down is a finding, no error."""
    settings = services.settings
    return [
        *check_settings(settings),
        *check_redis(services.redis_client, services.pending_log),
        *check_broker(settings),
        *check_postgres(services.job_engine, settings.partition_weeks_ahead),
        *check_clickhouse(services.job_clickhouse),
        *check_schema(services.job_engine, services.job_clickhouse),
    ]


def check_settings(settings: Settings) -> list[Finding]:
    """What the environment says, as far as it can be judged without a server."""
    length = len(settings.jwt_secret.encode())
    advice = f"give THREADKEEP_JWT_SECRET {MINIMUM_SECRET_BYTES} random bytes or more"
    varied = len(set(settings.jwt_secret)) >= MINIMUM_SECRET_BYTES // 4
    is_strong = length >= MINIMUM_SECRET_BYTES and varied
    return [found("settings", "secret", is_strong, f"{length} bytes", advice)]


def check_schema(engine: Engine, server: ClickHouse) -> list[Finding]:
    """Whether both databases have today's schema; nothing where one of them does not answer."""
    try:
        pending = schema.pending_steps(engine, server)
    except TierError:
        return []
    findings = []
    for tier in (POSTGRES, CLICKHOUSE):
        missing = [step for step in pending if step.startswith(tier)]
        value = f"missing: {', '.join(missing)}" if missing else "up to date"
        findings.append(found(tier, "schema", not missing, value, MIGRATE))
    return findings
