"""Makes PostgreSQL refuse what it would take, and lets it take that again."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from support.patience import wait_for_locks
from wiring.process import Services


@contextmanager
def refusing(services: Services, condition: str, table: str = "messages") -> Iterator[str]:
    """Inside, PostgreSQL takes only new rows that meet a condition; gives the constraint's name."""
    name = f"test_{secrets.token_hex(6)}"
    with services.tiers.migrate_engine.begin() as connection:
        wait_for_locks(connection)
        connection.exec_driver_sql(
            # Rows of other tests are none of its business.
            f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID"
        )
    try:
        yield name
    finally:
        with services.tiers.migrate_engine.begin() as connection:
            wait_for_locks(connection)
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
