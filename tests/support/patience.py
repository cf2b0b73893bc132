"""A lock that another of a test's own processes, or the autovacuum, may hold for a moment."""

from sqlalchemy import Connection, text


def wait_for_locks(connection: Connection) -> None:
    """Has the transaction wait for its locks as long as it takes."""
    connection.execute(text("SET LOCAL lock_timeout = '20s'"))
