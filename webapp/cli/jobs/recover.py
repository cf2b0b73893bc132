"""`threadkeep recover`: rebuilds a lost tier from another one."""

import click

import settings
from jobs.recover.disaster import AlreadyRecovering
from jobs.recover.runs import DEFAULT_TARGET_SECONDS, RecoveryRun, Source
from webapp.cli.operator import operator
from webapp.cli.progress import stage_bar
from wiring.process import Services


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Choice(["clickhouse", "postgresql"]),
    required=True,
    help="The tier from which the others are rebuilt.",
)
@click.option(
    "--target-rto",
    "target_rto_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_TARGET_SECONDS,
    show_default=True,
    help="The target for its duration in seconds; only reported.",
)
def recover(source: Source, target_rto_seconds: float) -> None:
    """Rebuild PostgreSQL and Redis from ClickHouse, or ClickHouse and Redis from PostgreSQL.

    Start the lost server empty first. The service may continue meanwhile. An interrupted recovery
    resumes automatically, or when you run this command again.
    """
    service = Services(settings.load()).jobs.disaster_recovery
    try:
        run = service.request(source, operator(), target_rto_seconds)
    except AlreadyRecovering:
        latest = service.latest()
        if latest is None or latest.source != source:
            raise click.ClickException("a recovery from another tier is under way") from None
        run = latest
        click.echo(f"continuing the recovery {run.id}", err=True)
    if service.is_lost():
        # Workers go on from there; they do not own the tables.
        service.take_first_step()
    with stage_bar() as tell:
        done = service.carry_out(run, tell) or service.wait(run, tell)
    _say(done)


def _say(run: RecoveryRun) -> None:
    if run.state != "complete":
        raise click.ClickException(f"the recovery failed: {run.error}")
    for name, count in sorted(run.counts.items()):
        if count:
            click.echo(f"{name.replace('_', ' ')}: {count:,}")
    word = "within" if run.elapsed_seconds <= run.target_rto_seconds else "BEYOND"
    click.echo(
        f"recovered in {run.elapsed_seconds:.1f} s,"
        f" {word} the target of {run.target_rto_seconds:g} s"
    )
