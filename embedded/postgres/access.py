"""Access to the embedded PostgreSQL: each role has its own way in and its own password."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from embedded.ports import HOST
from embedded.postgres.logins import DATABASE, LOGINS, OWNER, create_database, create_roles

SUPERUSER = "postgres"
CONNECT_TIMEOUT_SECONDS = 2
# The programs' passwords must not give access as superuser, who reads files and runs programs: the
# superuser connects only by a socket in the folder of the cluster, which is closed to others.
RULES = f"""\
# Written anew at each start.
local all {SUPERUSER} scram-sha-256
host all {SUPERUSER} all reject
host all all {HOST}/32 scram-sha-256
"""


class Passwords(NamedTuple):
    """The superuser's, and those of the logins by name."""

    superuser: str
    logins: dict[str, str]


class Access:
    """The roles of one cluster and their passwords."""

    def __init__(self, cluster: Path, port: int, passwords: Passwords) -> None:
        self._cluster = cluster
        self._port = port
        self._passwords = passwords

    def urls(self) -> dict[str, str]:
        """The URL of each login, by the environment variable that has it."""
        return {
            variable: f"postgresql+psycopg2://{name}:{self._passwords.logins[name]}"
            f"@{HOST}:{self._port}/{DATABASE}"
            for name, variable in LOGINS.items()
        }

    def set_up(self) -> None:
        """Create the roles and the database of the programs where they are missing."""
        with self._superuser() as link:
            create_roles(link, self._passwords.logins)
            create_database(link)

    def check(self) -> None:
        """Check that the programs can connect. Raises `psycopg2.OperationalError`."""
        for name, password in self._passwords.logins.items():
            _connect(HOST, self._port, name, password, DATABASE).close()

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
        own = self._passwords.superuser
        try:
            return _connect(folder, self._port, SUPERUSER, own, SUPERUSER)
        except psycopg2.OperationalError as error:
            if "password authentication failed" not in str(error):
                raise
        # The clusters of earlier versions gave both roles one password.
        shared = self._passwords.logins[OWNER]
        link = _connect(folder, self._port, SUPERUSER, shared, SUPERUSER)
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
