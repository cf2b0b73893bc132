"""The tiers as a test's own process reaches them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import settings
from webapp.cli.stack import databases
from wiring.process import Services


@contextmanager
def tiers(env: Mapping[str, str], *, serves_users: bool = False) -> Iterator[Services]:
    """The services of an environment; their connections are given back at the end. What
    `serves_users` logs in to PostgreSQL as web programs do."""
    env = {**env, **(databases.login_of(env, "web") if serves_users else {})}
    services = Services(settings.load(env), serves_users=serves_users)
    try:
        yield services
    finally:
        services.tiers.give_back()
