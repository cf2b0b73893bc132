"""A PostgreSQL that takes its time for each row."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from support.patience import wait_for_locks
from wiring.process import Services


@contextmanager
def each_takes(own: Services, table: str, verb: str, seconds: float) -> Iterator[None]:
    """Each row of a table takes so long meanwhile, to insert or to delete."""
    row = "OLD" if verb == "DELETE" else "NEW"
    with own.tiers.migrate_engine.begin() as connection:
        wait_for_locks(connection)
        connection.execute(
            text(
                "CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                f" PERFORM pg_sleep({seconds}); RETURN {row}; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER be_slow BEFORE {verb} ON {table} FOR EACH ROW"
                " EXECUTE FUNCTION be_slow()"
            )
        )
    try:
        yield
    finally:
        with own.tiers.migrate_engine.begin() as connection:
            wait_for_locks(connection)
            connection.execute(text("DROP FUNCTION be_slow CASCADE"))
