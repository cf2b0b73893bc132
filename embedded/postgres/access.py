"""Access to the embedded PostgreSQL: each role has its own way in and its own password."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from embedded.ports import HOST

SUPERUSER = "postgres"
ROLE = "threadkeep"
DATABASE = "threadkeep"
CONNECT_TIMEOUT_SECONDS = 2
# The programs' password must not give access as superuser, who reads files and runs programs: the
# superuser connects only by a socket in the folder of the cluster, which is closed to others.
RULES = f"""\
# Written anew at each start.
local all {SUPERUSER} scram-sha-256
host all {SUPERUSER} all reject
host all all {HOST}/32 scram-sha-256
"""


class Access:
    """The roles of one cluster and their passwords."""

    def __init__(self, cluster: Path, port: int, password: str, superuser_password: str) -> None:
        self.url = f"postgresql+psycopg2://{ROLE}:{password}@{HOST}:{port}/{DATABASE}"
        self._cluster = cluster
        self._port = port
        self._password = password
        self._superuser_password = superuser_password

    def set_up(self) -> None:
        """Create the role and the database of the programs where they are missing."""
        with self._superuser() as link:
            _create_role(link, self._password)
            _create_database(link)

    def check(self) -> None:
        """Check that the programs can connect. Raises `psycopg2.OperationalError`."""
        _connect(HOST, self._port, ROLE, self._password, DATABASE).close()

    @contextmanager
    def _superuser(self) -> Iterator[Connection]:
        # The path of a socket may have 107 bytes, and that of the cluster any length.
        folder = os.open(self._cluster, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with closing(self._enter(f"/proc/self/fd/{folder}")) as link:
                yield link
        finally:
            os.close(folder)

    def _enter(self, folder: str) -> Connection:
        own = self._superuser_password
        try:
            return _connect(folder, self._port, SUPERUSER, own, SUPERUSER)
        except psycopg2.OperationalError as error:
            if "password authentication failed" not in str(error):
                raise
        # The clusters of earlier versions gave both roles one password.
        link = _connect(folder, self._port, SUPERUSER, self._password, SUPERUSER)
        with link.cursor() as cursor:
            change = sql.SQL("ALTER ROLE {} PASSWORD {}")
            cursor.execute(change.format(sql.Identifier(SUPERUSER), sql.Literal(own)))
        return link


def _connect(host: str, port: int, user: str, password: str, database: str) -> Connection:
    link = psycopg2.connect(
        host=host,
        port=port,
        user=user,
        password=password,
        dbname=database,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
    )
    link.autocommit = True
    return link


def _create_role(link: Connection, password: str) -> None:
    """Create the programs' role, as it would be on a real server: it may make roles, no more."""
    with link.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
        if cursor.fetchone() is None:
            statement = sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}")
            cursor.execute(statement.format(sql.Identifier(ROLE), sql.Literal(password)))


def _create_database(link: Connection) -> None:
    with link.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if cursor.fetchone() is None:
            statement = sql.SQL("CREATE DATABASE {} OWNER {}")
            cursor.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(ROLE)))
