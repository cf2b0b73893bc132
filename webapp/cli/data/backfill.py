"""`threadkeep backfill`: warms the hot pages of Redis from PostgreSQL."""

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import settings
from jobs.audit import subject_of
from models.message import check_thread_id, check_user_id
from webapp.cli.operator import operator
from wiring.process import Services


@click.command()
@click.option("--user", help="Only this user's threads.")
@click.option("--thread", help="Only threads of this id.")
def backfill(user: str | None, thread: str | None) -> None:
    """Backfill what Redis missed, and warm the pages that it lacks, from PostgreSQL.

    Nothing depends on it: a page that Redis does not have is read from the other tiers. It makes
    the next reads fast after an outage or a loss of Redis.
    """
    if user is not None:
        check_user_id(user)
    if thread is not None:
        check_thread_id(thread)
    services = Services(settings.load())
    recovery = services.failover.redis_recovery
    told = recovery.reconcile()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("warming")
        threads = 0
        for messages in recovery.warm(user, thread):
            threads, told = threads + 1, told + messages
            progress.update(task, description=f"{threads:,} threads, {told:,} messages")
    subject = subject_of(user, thread)
    services.jobs.audit.note(operator(), "redis.recovered", subject, {"messages": told})
    click.echo(f"{told:,} messages backfilled, {threads:,} threads checked")
