"""`threadkeep where`."""

import click
import msgspec

import settings
from models import ids
from storage.errors import NotFound
from storage.messages.receipts import OwnedReceipt, TierReceipt
from webapp.cli.operator import operator
from webapp.cli.terminal import TIERS, plain
from wiring.process import Services

HASH_CHARACTERS = 12


@click.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
def where(id: str, as_json: bool) -> None:
    """Show which tiers have the message ID, whoever owns it.

    The look is recorded in the audit trail. Exit status 1 if no tier has the message.
    """
    if not ids.is_id(id):
        raise click.UsageError("ID: a message's id, as in the answer to its POST")
    try:
        found = Services(settings.load()).jobs.operator_receipts.receipt(id, by=operator())
    except NotFound:
        raise click.ClickException("no tier has this message") from None
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _show(found)


def _show(found: OwnedReceipt) -> None:
    written = f"version {found.version}, sha256 {found.content_hash[:HASH_CHARACTERS]}…"
    click.echo(f"{found.id}  {found.state}, {written}")
    click.echo(f"  user {plain(found.user_id)}, thread {found.thread_id}")
    for tier, receipt in found.tiers.items():
        click.echo(f"  {TIERS[tier]:<11} {_line(receipt)}")


def _line(tier: TierReceipt) -> str:
    if tier.present is None:
        return "did not answer"
    if not tier.present:
        return "does not have it"
    copies = [
        f"version {copy.version}{' (tombstone)' if copy.deleted else ''} since {copy.since}"
        f"{'' if copy.intact else ', NOT INTACT'}"
        for copy in tier.copies
    ]
    return "; ".join(copies) + (", not carried on yet" if tier.pending is True else "")
