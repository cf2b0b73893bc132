"""The words of messages were indexed here. Nothing searches PostgreSQL for them any more: 0015
drops the index where there is one."""

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
