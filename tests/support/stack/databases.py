"""A PostgreSQL database of a test's own, beside the one that the others use."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import make_url

from support.stack.superuser import superuser


@contextmanager
def empty_database(url: str, **settings: str) -> Iterator[str]:
    """An empty database of the same owner on the same server, under `settings`; gives its URL."""
    given, name = make_url(url), f"own_{secrets.token_hex(4)}"
    _run(url, f'CREATE DATABASE "{name}" OWNER "{given.username}"')
    try:
        for setting, value in settings.items():
            _run(url, f'ALTER DATABASE "{name}" SET {setting} = {value}')
        yield given.set(database=name).render_as_string(hide_password=False)
    finally:
        _run(url, f'DROP DATABASE "{name}" WITH (FORCE)')


def _run(url: str, statement: str) -> None:
    with superuser(url) as cursor:
        cursor.execute(statement)
