"""Alerts that were raised, and when they ended."""

from alembic import op

revision = "0012"
down_revision = "0011"

TABLES = """
CREATE TABLE alerts (
    id               uuid PRIMARY KEY,
    type             text NOT NULL,
    subject          text NOT NULL,
    priority         text NOT NULL,
    raised_at        timestamptz NOT NULL,
    ended_at         timestamptz,
    detail           text NOT NULL,
    figures          json NOT NULL,
    acknowledged_by  text,
    acknowledged_at  timestamptz
);
CREATE INDEX alerts_by_time ON alerts (raised_at);

SELECT copy_rows('alerts', 'true');
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
