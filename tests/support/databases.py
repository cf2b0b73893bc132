"""A PostgreSQL database of a test's own, beside the one that the others use."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
from sqlalchemy.engine import URL, make_url

SUPERUSER = "postgres"
"""Of the embedded cluster; it has the programs' password."""


@contextmanager
def empty_database(url: str, **settings: str) -> Iterator[str]:
    """An empty database of the same owner on the same server, under `settings`; gives its URL."""
    given, name = make_url(url), f"own_{secrets.token_hex(4)}"
    server = given.set(drivername="postgresql", username=SUPERUSER, database=SUPERUSER)
    _run(server, f'CREATE DATABASE "{name}" OWNER "{given.username}"')
    try:
        for setting, value in settings.items():
            _run(server, f'ALTER DATABASE "{name}" SET {setting} = {value}')
        yield given.set(database=name).render_as_string(hide_password=False)
    finally:
        _run(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _run(server: URL, statement: str) -> None:
    link = psycopg2.connect(server.render_as_string(hide_password=False))
    link.autocommit = True
    with closing(link), link.cursor() as cursor:
        cursor.execute(statement)
