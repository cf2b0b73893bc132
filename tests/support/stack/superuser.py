"""PostgreSQL as its administrator, past every proxy: by the socket that only its owner reaches."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection
from sqlalchemy.engine import make_url

from embedded.supervision import procfs
from selftest.bed.stack import Testbed
from support.waiting import eventually

SUPERUSER = "postgres"


class _Patient(connection):
    """One that waits for the making of a database, as long as that takes on a busy machine."""

    deadline_seconds = 60.0


@contextmanager
def superuser(url: str, database: str = SUPERUSER) -> Iterator[Any]:
    """A cursor on a database of the embedded cluster that `url` names the server of; it commits
    each statement."""
    port = make_url(url).port
    found: list[Path] = []

    def is_found() -> bool:
        found.extend(cluster for cluster in _clusters() if (cluster / f".s.PGSQL.{port}").exists())
        return bool(found)

    eventually(is_found)
    run = found[0].parents[1] / "run"
    folder = os.open(found[0], os.O_PATH)
    try:
        link = psycopg2.connect(
            host=f"/proc/self/fd/{folder}",
            port=port,
            user=SUPERUSER,
            password=(run / "postgres-superuser-password").read_text(),
            dbname=database,
            connection_factory=_Patient,
        )
    finally:
        os.close(folder)
    link.autocommit = True
    with closing(link), link.cursor() as cursor:
        yield cursor


@contextmanager
def administrator(bed: Testbed) -> Iterator[Any]:
    """The same for the stack's database."""
    url = bed.direct_env["DATABASE_URL"]
    with superuser(url, make_url(url).database or SUPERUSER) as cursor:
        yield cursor


def command(bed: Testbed, *statements: str) -> list[tuple[Any, ...]]:
    """Runs statements; gives the rows of the last."""
    with administrator(bed) as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def _clusters() -> set[Path]:
    """The folders of all clusters that run here and may be seen."""
    folders = (procfs.current_folder(found.pid) for found in procfs.entries())
    return {Path(folder) for folder in folders if folder.endswith("/postgres/cluster")}
