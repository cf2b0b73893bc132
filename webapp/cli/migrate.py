"""`threadkeep migrate`."""

import click

import settings
from jobs.migrate import migrate_all
from storage.errors import Refused
from wiring.process import Services

LOST = (
    "postgresql is empty, and clickhouse holds what it had: run"
    " `threadkeep recover --from clickhouse`"
)


@click.command()
def migrate() -> None:
    """Bring PostgreSQL and ClickHouse to this program's schema."""
    services = Services(settings.load())
    if services.jobs.disaster_recovery.is_lost():
        raise Refused(LOST)
    weeks = services.settings.partition_weeks_ahead
    steps = migrate_all(services.tiers.migrate_engine, services.tiers.job_clickhouse, weeks)
    for step in steps:
        click.echo(f"applied {step}")
    if not steps:
        click.echo("nothing to do")
