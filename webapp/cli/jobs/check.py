"""`threadkeep check`: do the tiers agree?"""

import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table

import settings
from jobs.consistency.report import ConsistencyReport, Difference, Scope
from jobs.consistency.reports import CheckRunning
from models.message import InvalidMessage, check_thread_id, check_user_id
from webapp.cli.operator import operator
from webapp.cli.terminal import plain
from wiring.process import Services

SHOWN_DIFFERENCES = 20


@click.command()
@click.option("--repair", is_flag=True, help="Repair from a tier that still has the right copy.")
@click.option("--user", help="Only this user's data.")
@click.option("--thread", help="Only threads of this id.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(repair: bool, user: str | None, thread: str | None, as_json: bool) -> None:
    """Compare Redis, PostgreSQL and ClickHouse, and name everything that differs.

    Exit status 0 if nothing differs, or everything was repaired; 1 if something differs.
    """
    try:
        if user is not None:
            check_user_id(user)
        if thread is not None:
            check_thread_id(thread)
    except InvalidMessage as error:
        raise click.UsageError(str(error)) from None
    checker = Services(settings.load()).jobs.consistency_checker
    scope = Scope(user_id=user, thread_id=thread)
    try:
        report = checker.check(scope, actor=operator(), repair=repair)
    except CheckRunning as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _show(report)
    if report.remaining:
        sys.exit(1)


def _show(report: ConsistencyReport) -> None:
    Console(highlight=False).print(_pairs(report))
    for one in report.differences[:SHOWN_DIFFERENCES]:
        click.echo(_line(one))
    if len(report.differences) > SHOWN_DIFFERENCES:
        click.echo(f"and {len(report.differences) - SHOWN_DIFFERENCES:,} more, which --json names")
    line = f"{report.differing:,} of {report.compared:,} differ"
    if report.repair:
        line += f", {report.repaired:,} repaired, {report.unrepairable:,} past repair"
    score = report.data_consistency_score
    click.echo(f"{line}; data consistency {score} %, {report.seconds} s")


def _pairs(report: ConsistencyReport) -> Table:
    """A line for each pair of tiers, and under it one for each kind of difference."""
    table = Table(title="Consistency")
    table.add_column("", no_wrap=True)
    for heading in ("compared", "differ", "repaired", "past repair", "seconds"):
        table.add_column(heading, justify="right")
    for name, pair in report.pairs.items():
        done = (pair.repaired, pair.unrepairable) if report.repair else ()
        figures = [f"{figure:,}" for figure in done] or ["", ""]
        table.add_row(
            name, f"{pair.compared:,}", f"{pair.differing:,}", *figures, f"{pair.seconds:.2f}"
        )
        for kind, count in pair.kinds.items():
            table.add_row(f"  {kind.replace('_', ' ')}", "", f"{count:,}")
    return table


def _line(one: Difference) -> str:
    place = f"{one.id}: {one.kind.replace('_', ' ')} in {one.tier}"
    found = f" ({one.found})" if one.found else ""
    outcome = f" - {one.outcome}" if one.outcome else ""
    return plain(f"{place}{found}{outcome}")
