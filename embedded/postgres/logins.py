"""The roles of the programs: three logins, none of which can become another, and what they act as.
`docs/operations.md` has the same for a server of one's own."""

from collections.abc import Mapping

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

DATABASE = "threadkeep"
OWNER = "threadkeep"
"""Owns the tables; only whoever migrates logs in as it."""
WEB_LOGIN = "threadkeep_web_login"
WORKER_LOGIN = "threadkeep_worker_login"
LOGINS = {
    WORKER_LOGIN: "DATABASE_URL",
    WEB_LOGIN: "DATABASE_WEB_URL",
    OWNER: "DATABASE_MIGRATE_URL",
}
"""Each login, and the environment variable that has its URL."""

_WEB, _OPERATOR, _WORKER = "threadkeep_web", "threadkeep_operator", "threadkeep_worker"
_ACTS_AS = {
    # A web process has no right of its own: it acts for a user, or for an admin.
    WEB_LOGIN: (_WEB, _OPERATOR),
    WORKER_LOGIN: (_WORKER, _WEB),
    OWNER: (_WEB, _OPERATOR, _WORKER),
}
_MODEST = sql.SQL("NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")


def create_roles(link: Connection, passwords: Mapping[str, str]) -> None:
    """Create the roles that are missing; the logins get their passwords, and no more rights than
    they need, whatever they had."""
    with link.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles")
        known = {name for (name,) in cursor.fetchall()}
        for name in (_WEB, _OPERATOR, _WORKER, *LOGINS):
            if name not in known:
                cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
        for name, acts_as in _ACTS_AS.items():
            login = sql.Identifier(name)
            inherits = sql.SQL("NOINHERIT" if name == WEB_LOGIN else "INHERIT")
            own = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {} {} {}")
            cursor.execute(own.format(login, sql.Literal(passwords[name]), inherits, _MODEST))
            granted = sql.SQL(", ").join(map(sql.Identifier, acts_as))
            cursor.execute(sql.SQL("GRANT {} TO {}").format(granted, login))


def create_database(link: Connection) -> None:
    """Create the database of the programs, if there is none."""
    with link.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if cursor.fetchone() is None:
            statement = sql.SQL("CREATE DATABASE {} OWNER {}")
            cursor.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))
