"""`threadkeep tokens`: tokens are revoked."""

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from storage.errors import NotFound
from storage.identity.credentials import Revocation
from webapp.cli.identity.keys import service
from webapp.cli.operator import operator
from webapp.cli.options import AS_JSON, moment, whole

PAGE_REVOCATIONS = 500


@click.group("tokens")
def tokens() -> None:
    """Revoke tokens, list what was revoked, and take it back."""


@tokens.command("revoke")
@click.option("--jti", "token_id", help="The token with this jti.")
@click.option("--until", metavar="RFC3339", help="When that token has expired anyway.")
@click.option("--user", "user_id", help="All tokens of this user.")
@click.option(
    "--before", metavar="RFC3339", help="Those of them that were issued before; now if left out."
)
@AS_JSON
def revoke(
    token_id: str | None, until: str | None, user_id: str | None, before: str | None, as_json: bool
) -> None:
    """Revoke one token, or all of a user; every process refuses them within seconds."""
    ends, began = moment("--until", until), moment("--before", before)
    if token_id is not None and user_id is None and began is None:
        made = service().revoke_token(token_id, until=ends, by=operator())
    elif user_id is not None and token_id is None and ends is None:
        made = service().revoke_user(user_id, before=began, by=operator())
    else:
        raise click.UsageError("give --jti, with --until or without, or --user, with --before")
    click.echo(msgspec.json.encode(made) if as_json else f"revoked: {_subject(made)}")


@tokens.command("list")
@AS_JSON
def list_revocations(as_json: bool) -> None:
    """List what was revoked, newest first."""
    own = service()
    found = whole(lambda cursor: own.list_revocations(limit=PAGE_REVOCATIONS, cursor=cursor))
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif found:
        Console(highlight=False).print(_table(found))
    else:
        click.echo("no token is revoked")


@tokens.command("restore")
@click.argument("revocation_id", metavar="ID")
@AS_JSON
def restore(revocation_id: str, as_json: bool) -> None:
    """Take back the revocation with this ID."""
    try:
        lifted = service().lift(revocation_id, by=operator())
    except NotFound:
        raise click.ClickException(f"there is no revocation {revocation_id}") from None
    click.echo(msgspec.json.encode(lifted) if as_json else f"restored: {_subject(lifted)}")


def _subject(one: Revocation) -> str:
    if one.user_id is not None:
        return f"tokens of {one.user_id} that were issued before {one.before}"
    return f"token {one.token_id}"


def _table(found: list[Revocation]) -> Table:
    table = Table(title="Revoked tokens")
    for heading in ("id", "which", "by", "at", "until"):
        table.add_column(heading, overflow="fold")
    for one in found:
        cells = (one.id, _subject(one), one.created_by, one.created_at, one.until or "")
        table.add_row(*(Text(cell) for cell in cells))
    return table
