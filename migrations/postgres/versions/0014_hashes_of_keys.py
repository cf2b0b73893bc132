"""The hash of the message that a key made, as far as it was told: while nobody has the message
itself, a repeat with another text is told apart by it."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(
        "ALTER TABLE idempotency_keys ADD COLUMN content_hash text NOT NULL DEFAULT ''"
    )


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
