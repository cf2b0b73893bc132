"""`threadkeep archive`: moves old messages out of PostgreSQL, to ClickHouse alone."""

import sys
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import settings
from jobs.archive.run import ArchiveCounts, ArchiveRequest
from jobs.archive.tiering import DAY_SECONDS, Partition, rules_of
from webapp.cli.operator import operator
from wiring.process import Services

UNITS = {"d": DAY_SECONDS, "h": 3600.0, "m": 60.0, "s": 1.0}


class DurationType(click.ParamType[float]):
    """A span of time such as `30d`, `12h`, `15m` or `0`, as seconds."""

    name = "span"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The seconds; fails for any other value."""
        if isinstance(value, float):
            return value
        number, unit = (value[:-1], value[-1:]) if value[-1:] in UNITS else (value, "s")
        if not (number.isascii() and number.isdigit()):
            self.fail(f"{value!r} is no span such as 30d, 12h, 15m or 60s", param, ctx)
        return int(number) * UNITS[unit]


@click.command()
@click.option(
    "--older-than",
    type=DurationType(),
    help="Only partitions whose messages are all older, such as 30d"
    " [default: THREADKEEP_ARCHIVE_AFTER_DAYS].",
)
@click.option(
    "--grace",
    type=DurationType(),
    help="How long PostgreSQL keeps archived partitions; 0 drops them at once, after one more proof"
    " [default: THREADKEEP_ARCHIVE_GRACE_SECONDS].",
)
@click.option("--dry-run", is_flag=True, help="Print what would be archived, and change nothing.")
def archive(older_than: float | None, grace: float | None, dry_run: bool) -> None:
    """Move old messages out of PostgreSQL, once ClickHouse is proven to have each of them.

    Reads, edits and deletes work as before; old messages come from ClickHouse. An interrupted run
    is continued by the next one.
    """
    services = Services(settings.load())
    own = services.settings
    rules = rules_of(own)
    if older_than is not None:
        rules = rules._replace(archive_after_seconds=older_than)
    if dry_run:
        _say_due(services.jobs.archive.due(rules))
        return
    grace_seconds = own.archive_grace_seconds if grace is None else grace
    request = ArchiveRequest(rules, grace_seconds, operator())
    done = ArchiveCounts()
    with _progress() as bar:
        task = bar.add_task("archiving", total=None)
        for done in services.jobs.archive.archive_partitions(request):
            finished = done.detached + done.waiting + done.stopped
            bar.update(task, total=done.partitions or None, completed=finished)
    _say_done(done)
    if done.stopped:
        sys.exit(1)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _say_due(due: list[Partition]) -> None:
    for one in due:
        click.echo(f"{one.name}  {one.rows:>12,} messages  {one.bytes / 1e6:>10,.1f} MB")
    rows, size = sum(one.rows for one in due), sum(one.bytes for one in due)
    click.echo(f"{len(due):,} partitions with {rows:,} messages, {size / 1e6:,.1f} MB, would go")


def _say_done(done: ArchiveCounts) -> None:
    click.echo(
        f"{done.messages:,} messages left PostgreSQL, {done.leftovers:,} of them one by one;"
        f" {done.detached:,} partitions detached, {done.dropped:,} dropped"
    )
    if done.reshipped or done.newer:
        click.echo(
            f"{done.reshipped:,} messages shipped to ClickHouse again, {done.newer:,} newer there"
        )
    if done.held:
        click.echo(f"{done.held:,} partitions are kept until their grace is over")
    if done.waiting:
        click.echo(f"{done.waiting:,} partitions are in use: run it again")
    if done.stopped:
        click.echo(
            f"threadkeep: {done.stopped:,} partitions cannot be proven and stay as they are;"
            " see `threadkeep doctor`",
            err=True,
        )
