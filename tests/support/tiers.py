"""The tiers as a test's own process reaches them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from redis import Redis
from sqlalchemy import Engine

import settings
from storage.services import Services


@contextmanager
def tiers(env: Mapping[str, str]) -> Iterator[Services]:
    """The services of an environment; their connections are given back at the end."""
    services = Services(settings.load(env))
    try:
        yield services
    finally:
        give_back(services)


def give_back(services: Services) -> None:
    """Closes the connections that nobody uses at this moment."""
    for made in list(vars(services).values()):
        if isinstance(made, Engine):
            made.dispose()
        elif isinstance(made, Redis):
            made.close()
