"""What commands ask of the values that they are given."""

from collections.abc import Callable

import click

from models.message import InvalidMessage


def checked(check: Callable[[str], None], value: str | None) -> str | None:
    """The value, once the check lets it pass. Raises `click.UsageError`."""
    try:
        if value is not None:
            check(value)
    except InvalidMessage as error:
        raise click.UsageError(str(error)) from None
    return value
