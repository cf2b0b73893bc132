"""The tiers as a test's own process reaches them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import settings
from wiring.process import Services


@contextmanager
def tiers(env: Mapping[str, str]) -> Iterator[Services]:
    """The services of an environment; their connections are given back at the end."""
    services = Services(settings.load(env))
    try:
        yield services
    finally:
        services.tiers.give_back()
