"""Checks of options' values."""

from collections.abc import Callable

import click

from models.message import InvalidMessage


def checked(check: Callable[[str], None], value: str | None) -> str | None:
    """The value if the check accepts it. Raises `click.UsageError`."""
    try:
        if value is not None:
            check(value)
    except InvalidMessage as error:
        raise click.UsageError(str(error)) from None
    return value
