"""`threadkeep verify`: is everything as it was written?"""

import sys
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

import settings
from jobs.transfer.backup.manifest import key_of
from jobs.transfer.backup.verify import verify as verify_bytes
from jobs.verify.backup_chains import verify_chains
from jobs.verify.kept_heads import read
from jobs.verify.report import VerificationReport
from jobs.verify.thread_check import Flaw
from models.chain import Head
from models.message import check_thread_id, check_user_id
from storage.clickhouse.pages import Selection
from webapp.cli.options import AS_JSON, checked
from webapp.cli.progress import stage_bar
from webapp.cli.terminal import plain
from wiring.process import Services

SHOWN_FLAWS = 20


@click.command()
@click.option("--user", help="Only this user's threads.")
@click.option("--thread", help="Only threads of this id.")
@click.option(
    "--heads",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Compare with heads that `threadkeep heads` wrote earlier.",
)
@click.option(
    "--backup",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Verify the chains of a backup in place of the tiers'.",
)
@click.option("--trust", is_flag=True, help="Take a backup that this installation has not signed.")
@AS_JSON
def verify(
    user: str | None,
    thread: str | None,
    heads: Path | None,
    backup: Path | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Walk the hash chain of every thread, and name what was changed since it was written.

    Whoever owns the databases could compute whole chains anew: only heads that were kept elsewhere
    prove that nobody did. Exit status 1 if anything is wrong.
    """
    selection = Selection(checked(check_user_id, user), checked(check_thread_id, thread))
    kept = read(heads) if heads else {}
    if backup is not None:
        if selection != Selection():
            raise click.UsageError("--backup verifies all of it: without --user and --thread")
        report = _of_backup(backup, kept, trust=trust)
    else:
        with stage_bar() as tell:
            report = Services(settings.load()).jobs.verifier.verify(
                selection, kept, lambda threads: tell("threads", threads, 0)
            )
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _show(report)
    if report.flaws:
        sys.exit(1)


def _of_backup(
    folder: Path, kept: Mapping[tuple[str, str], Head], *, trust: bool
) -> VerificationReport:
    key = None if trust else key_of(settings.load().signing_secret)
    return verify_chains(folder, verify_bytes(folder, key, trust=trust).manifest, kept)


def _show(report: VerificationReport) -> None:
    for flaw in report.named[:SHOWN_FLAWS]:
        click.echo(_line(flaw))
    if report.flaws > SHOWN_FLAWS:
        click.echo(f"and {report.flaws - SHOWN_FLAWS:,} more, which --json names")
    walked = f"{report.threads:,} threads, {report.links:,} links, {report.messages:,} messages"
    if report.forgotten:
        walked += f" ({report.forgotten:,} links of what was purged)"
    if report.kept_heads:
        walked += f", {report.kept_heads:,} heads kept elsewhere"
    click.echo(f"{walked}: {f'{report.flaws:,} FLAWS' if report.flaws else 'all as written'}")


def _line(flaw: Flaw) -> str:
    where = f"user {plain(flaw.user_id)}"
    if flaw.thread_id:
        where += f", thread {flaw.thread_id}"
    if flaw.position is not None:
        where += f", link {flaw.position:,}"
    if flaw.message_id is not None:
        where += f", message {flaw.message_id}"
    return f"{flaw.kind}  {where}: {flaw.detail}"
