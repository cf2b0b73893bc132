"""How often a dead letter was refused, and when it was last tried."""

from alembic import op

revision = "0002"
down_revision = "0001"

# A default that is constant rewrites no row.
COLUMNS = """
ALTER TABLE dead_letters
    ADD COLUMN attempts integer NOT NULL DEFAULT 1,
    ADD COLUMN attempted_at timestamptz;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(COLUMNS)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
