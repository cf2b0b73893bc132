"""`threadkeep backup` and `threadkeep restore`."""

from pathlib import Path

import click
import msgspec

import settings
from jobs.transfer.backup.manifest import MESSAGES, Manifest, SignedManifest, key_of
from jobs.transfer.backup.verify import verify as verify_all
from storage.availability.checks import safety
from webapp.cli.operator import operator
from webapp.cli.progress import stage_bar
from wiring.process import Services

SNAPSHOT_SECONDS = 600.0
"""The longest that PostgreSQL may take to sort everything."""


_verify = click.option(
    "--verify", is_flag=True, help="Only check the backup in FOLDER, every byte."
)
_trust = click.option(
    "--trust",
    is_flag=True,
    help="Restore a backup that this installation has not signed, without its audit trail and API"
    " keys.",
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_verify
@_trust
def backup(folder: Path, verify: bool, trust: bool) -> None:
    """Write everything of all tiers into the new folder FOLDER.

    It has everything acknowledged so far, as of one moment; the service continues meanwhile. It is
    signed with a key derived from THREADKEEP_JWT_SECRET.
    """
    if verify:
        _only_verify(folder, trust)
        return
    with stage_bar() as tell:
        made = _patient_services().jobs.backup.write(folder, operator(), tell)
    _say("written", made)
    if made.damaged:
        raise click.ClickException(
            f"{made.damaged:,} messages do not match their own hash, and are in it as they are;"
            " threadkeep check says which"
        )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_verify
@click.option("--merge", is_flag=True, help="Restore it into an installation that has messages.")
@_trust
def restore(folder: Path, verify: bool, merge: bool, trust: bool) -> None:
    """Restore the backup in FOLDER, after checking every byte and every message in it.

    Newer versions that are there stay, and erased users stay erased. Repeat an interrupted restore
    with --merge.
    """
    if verify:
        _only_verify(folder, trust)
        return
    services = _patient_services()
    safety.check(services.settings)
    with stage_bar() as tell:
        found = services.jobs.restore.restore(
            folder, operator(), merge=merge, trust=trust, on_progress=tell
        )
    _say_unsigned(found, "its audit trail and API keys were left out")
    _say("restored", found.manifest)


def _only_verify(folder: Path, trust: bool) -> None:
    try:
        key = key_of(settings.load().signing_secret)
    except settings.SettingsError:
        # A backup that is trusted can be checked without an installation.
        if not trust:
            raise
        key = None
    found = verify_all(folder, key, trust=trust)
    _say_unsigned(found, "who made it was not checked")
    _say("intact", found.manifest)


def _say_unsigned(found: SignedManifest, consequence: str) -> None:
    if not found.is_signed:
        click.echo(
            f"threadkeep: WARNING: this backup is taken on trust, without a signature of this"
            f" installation: {consequence}",
            err=True,
        )


def _patient_services() -> Services:
    own = settings.load()
    return Services(msgspec.structs.replace(own, database_job_timeout_seconds=SNAPSHOT_SECONDS))


def _say(what: str, found: Manifest) -> None:
    rows = sum(found.rows.values()) - found.rows[MESSAGES]
    size = sum(part.bytes for part in found.parts.values())
    click.echo(
        f"{what}: {found.rows[MESSAGES]:,} messages and {rows:,} other rows of {found.made_at},"
        f" {size / 1e6:,.1f} MB"
    )
