"""`threadkeep backup` and `threadkeep restore`."""

from pathlib import Path

import click
import msgspec

import settings
from storage.backup import manifest as manifests
from storage.backup.manifest import MESSAGES, Manifest
from storage.doctor import safety
from storage.services import Services
from webapp.cli.progress import stage_bar

OPERATOR = "operator"
SNAPSHOT_SECONDS = 600.0
"""The longest that PostgreSQL may take to sort everything."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--verify", is_flag=True, help="Only check the backup that is there, every byte.")
def backup(folder: Path, verify: bool) -> None:
    """Write everything of all tiers into the new folder FOLDER.

    Everything acknowledged by now is in it, as of one moment; all goes on meanwhile.
    """
    if verify:
        found = manifests.verify(folder)
        manifests.verify_rows(folder, found)
        _say("intact", found)
        return
    with stage_bar() as tell:
        made = _patient_services().backup.write(folder, OPERATOR, tell)
    _say("written", made)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--verify", is_flag=True, help="Only check the backup, every byte.")
@click.option("--merge", is_flag=True, help="Restore it beside the messages that are there.")
def restore(folder: Path, verify: bool, merge: bool) -> None:
    """Restore the backup in FOLDER.

    Newer versions that are there stay, and users who were erased stay out. One that was stopped
    is repeated with --merge.
    """
    if verify:
        found = manifests.verify(folder)
        manifests.verify_rows(folder, found)
        _say("intact", found)
        return
    services = _patient_services()
    safety.check(services.settings)
    with stage_bar() as tell:
        found = services.restore.restore(folder, OPERATOR, merge=merge, tell=tell)
    _say("restored", found)


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
