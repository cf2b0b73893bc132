"""The words of messages leave PostgreSQL: ClickHouse indexes them, and has every message within
seconds."""

import time

from alembic import op
from sqlalchemy.exc import OperationalError

revision = "0015"
down_revision = "0014"

ATTEMPTS = 60
PAUSE_SECONDS = 0.5
_LOCK_NOT_AVAILABLE = "55P03"

# The index of a partitioned table cannot be dropped concurrently, nor partition by partition. It
# takes milliseconds, but everybody waits while it waits for its locks: so not for long at once.
BRIEFLY = "SET LOCAL lock_timeout = '200ms'"
DROPS = """
DROP INDEX IF EXISTS messages_by_words;
DROP FUNCTION IF EXISTS search_candidates;
DROP FUNCTION IF EXISTS search_terms;
DROP FUNCTION IF EXISTS search_fold;
DROP FUNCTION IF EXISTS search_normal;
"""


def upgrade() -> None:
    for _ in range(ATTEMPTS - 1):
        try:
            return _drop()
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
                raise
            time.sleep(PAUSE_SECONDS)
    return _drop()


def _drop() -> None:
    connection = op.get_bind()
    with connection.begin_nested():
        connection.exec_driver_sql(BRIEFLY)
        connection.exec_driver_sql(DROPS)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
