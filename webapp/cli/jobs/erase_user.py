"""`threadkeep erase-user`: erases a user from every tier, and prints a receipt."""

import sys
import time

import click
import msgspec

import settings
from jobs.erase.receipt import UserErasure
from jobs.erase.users import UserErasureService
from models.message import InvalidMessage, check_user_id
from storage.errors import OnHold
from webapp.cli.operator import operator
from webapp.cli.progress import progress_bar
from wiring.process import Services

PAUSE_SECONDS = 0.5


@click.command("erase-user")
@click.argument("user_id", metavar="USER")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    help="Seconds to wait for tiers that are down.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
def erase_user(user_id: str, yes: bool, seconds: float, as_json: bool) -> None:
    """Erase everything of USER from every tier, and print the receipt.

    Exit status 1 if some tier still holds any of it; a worker then continues. Repeating the
    command gives the newest receipt.
    """
    try:
        check_user_id(user_id)
    except InvalidMessage as error:
        raise click.UsageError(str(error)) from None
    if not yes:
        click.confirm(f"Erase everything of {user_id!r} for good?", abort=True, err=True)
    service = Services(settings.load()).jobs.user_erasure
    try:
        found = service.request(user_id, by=operator())
    except OnHold as error:
        raise click.ClickException(f"{error}: nothing was erased") from None
    with progress_bar("erasing", None):
        found = _carried_on(service, found, seconds)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _show(found)
    if found.state != "done":
        sys.exit(1)


def _carried_on(service: UserErasureService, found: UserErasure, seconds: float) -> UserErasure:
    deadline = time.monotonic() + seconds
    while found.state != "done":
        service.carry_on(found.user_id)
        found = service.receipt(found.user_id)
        if time.monotonic() >= deadline:
            break
        if found.state != "done":
            time.sleep(PAUSE_SECONDS)
    return found


def _show(found: UserErasure) -> None:
    click.echo(f"{found.state}, through {found.erased_through}, in {found.seconds:.1f} s")
    for tier, kinds in found.removed.items():
        counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
        click.echo(f"{tier}: {counts or 'nothing'} removed")
    for tier, said in found.files.items():
        click.echo(f"{tier}: {said}")
    for tier, reason in found.waits_for.items():
        click.echo(f"threadkeep: {tier} is in the way: {reason}", err=True)
