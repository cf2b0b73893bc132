"""`threadkeep keys`: API keys are created, listed and revoked."""

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

import settings
from storage.errors import NotFound
from storage.identity.credentials import SCOPES, ApiKey
from storage.identity.service import CredentialService
from webapp.cli.operator import operator
from webapp.cli.options import AS_JSON, moment, whole
from wiring.process import Services

PAGE_KEYS = 500


@click.group("keys")
def keys() -> None:
    """Create, list and revoke API keys, with which programs call."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What it may do; to be given once for each.",
)
@click.option("--user", "user_id", help="The user as which it acts, without it one of its own.")
@click.option("--expires", metavar="RFC3339", help="When it ends, without it never.")
@AS_JSON
def create_key(
    name: str, scopes: tuple[str, ...], user_id: str | None, expires: str | None, as_json: bool
) -> None:
    """Create an API key called NAME, and print it: nobody can show it again."""
    made = service().create_key(
        name, list(scopes), user_id=user_id, expires_at=moment("--expires", expires), by=operator()
    )
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.structs.asdict(made.key), "key": made.secret}))
        return
    click.echo(made.secret)
    click.echo(f"{made.key.id}: acts as {made.key.user_id}, {_scopes(made.key)}", err=True)


@keys.command("list")
@AS_JSON
def list_keys(as_json: bool) -> None:
    """List every key without its secret, newest first; revoked ones too."""
    own = service()
    found = whole(lambda cursor: own.list_keys(limit=PAGE_KEYS, cursor=cursor))
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif found:
        Console(highlight=False).print(_table(found))
    else:
        click.echo("there is no API key")


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@AS_JSON
def revoke_key(key_id: str, as_json: bool) -> None:
    """Revoke the key with this ID for good; every process refuses it within seconds."""
    try:
        revoked = service().revoke_key(key_id, by=operator())
    except NotFound:
        raise click.ClickException(f"there is no API key {key_id}") from None
    click.echo(msgspec.json.encode(revoked) if as_json else f"revoked: {revoked.name}")


def service() -> CredentialService:
    """The keys and revocations of the installation that the environment names."""
    return Services(settings.load()).jobs.credentials


def _scopes(key: ApiKey) -> str:
    return ", ".join(key.scopes)


def _table(found: list[ApiKey]) -> Table:
    table = Table(title="API keys")
    for heading in ("id", "key", "name", "acts as", "scopes", "last used", "ends"):
        table.add_column(heading, overflow="fold")
    for one in found:
        ends = f"revoked {one.revoked_at}" if one.revoked_at else one.expires_at or "never"
        cells = (
            one.id,
            f"{one.prefix}…",
            one.name,
            one.user_id,
            _scopes(one),
            one.last_used_at or "never",
            ends,
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table
