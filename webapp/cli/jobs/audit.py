"""`threadkeep audit`: who did what."""

import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

import settings
from jobs import audit_chain
from jobs.audit import AuditEntry
from webapp.cli.options import AS_JSON, moment
from webapp.cli.terminal import plain
from wiring.process import Services


@click.command()
@click.option("--since", metavar="RFC3339", help="Only entries since then.")
@click.option("--actor", help="Only actions of this admin; `system` are scheduled jobs.")
@click.option("--action", help="Only this action, as `user.erased`.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@click.option(
    "--verify", "verifies", is_flag=True, help="Check that no entry was changed or removed."
)
@AS_JSON
def audit(
    since: str | None,
    actor: str | None,
    action: str | None,
    limit: int,
    verifies: bool,
    as_json: bool,
) -> None:
    """List the audit trail, newest first.

    With --verify every entry's hash is computed again and compared with its copy in ClickHouse;
    exit status 1 if anything differs.
    """
    services = Services(settings.load())
    if verifies:
        _verify(services, as_json=as_json)
        return
    entries = services.jobs.audit.entries(
        since=moment("--since", since), actor=actor, action=action, limit=limit
    )
    if as_json:
        click.echo(msgspec.json.encode(entries))
    elif entries:
        Console(highlight=False).print(_table(entries))
    else:
        click.echo("there is no such entry")


def _verify(services: Services, *, as_json: bool) -> None:
    found = audit_chain.verify(services.tiers.job_engine, services.tiers.job_clickhouse)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        for problem in found.problems:
            click.echo(problem)
        outcome = "none was changed" if found.is_whole else "NOT as they were written"
        click.echo(
            f"{found.entries:,} entries, {outcome}; {found.waiting:,} not in ClickHouse yet;"
            f" head {found.position} {found.hash}"
        )
    if not found.is_whole:
        sys.exit(1)


def _table(entries: list[AuditEntry]) -> Table:
    table = Table(title="Audit trail")
    for heading in ("at", "actor", "action", "subject", "counts", "details"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        counts = ", ".join(f"{name} {count}" for name, count in entry.counts.items())
        details = msgspec.json.encode(entry.details).decode() if entry.details else ""
        cells = (entry.at, entry.actor, entry.action, entry.subject, counts, details)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table
