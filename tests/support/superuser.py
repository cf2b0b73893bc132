"""PostgreSQL as its administrator, past every proxy."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from sqlalchemy.engine import make_url

from selftest.stack import Testbed
from support.databases import SUPERUSER


@contextmanager
def administrator(bed: Testbed) -> Iterator[Any]:
    """A connection to the stack's database that commits each statement."""
    url = make_url(bed.direct_env["DATABASE_URL"]).set(drivername="postgresql", username=SUPERUSER)
    link = psycopg2.connect(url.render_as_string(hide_password=False))
    link.autocommit = True
    with closing(link), link.cursor() as cursor:
        yield cursor


def command(bed: Testbed, *statements: str) -> list[tuple[Any, ...]]:
    """Runs statements; gives the rows of the last."""
    with administrator(bed) as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
