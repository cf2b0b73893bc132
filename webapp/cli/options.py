"""Options, their values, and lists that are read to their end."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import click

from models import ids
from models.message import InvalidMessage

Item = TypeVar("Item")
Cursor = TypeVar("Cursor")

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


def checked(check: Callable[[str], None], value: str | None) -> str | None:
    """The value if the check accepts it. Raises `click.UsageError`."""
    try:
        if value is not None:
            check(value)
    except InvalidMessage as error:
        raise click.UsageError(str(error)) from None
    return value


def moment(option: str, given: str | None) -> str | None:
    """A time that somebody typed, in UTC. Raises `click.UsageError`."""
    try:
        return None if given is None else ids.in_utc(given)
    except ValueError:
        raise click.UsageError(f"{option}: a time as in RFC 3339, with its zone") from None


def whole(page: Callable[[Cursor | None], tuple[Iterable[Item], Cursor | None]]) -> list[Item]:
    """All pages of a list; `page` gives the one at a cursor, and the next cursor if any."""
    found: list[Item] = []
    cursor: Cursor | None = None
    while True:
        items, cursor = page(cursor)
        found += items
        if cursor is None:
            return found
