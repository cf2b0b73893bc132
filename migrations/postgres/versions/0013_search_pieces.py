"""The words of long texts were made piece by piece here, for the index that 0015 drops."""

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
