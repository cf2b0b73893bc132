"""`threadkeep token`."""

import click

import settings
from webapp.http.auth import LATEST, Tokens

DAY_SECONDS = 86_400


@click.command()
@click.argument("user")
@click.option("--admin", is_flag=True, help="Give the role admin.")
@click.option(
    "--ttl",
    type=click.IntRange(1, LATEST // 10),
    default=DAY_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long the token is valid.",
)
def token(user: str, admin: bool, ttl: int) -> None:
    """Print a token for USER."""
    click.echo(Tokens(settings.load()).issue(user, is_admin=admin, ttl_seconds=ttl))
