"""Threads that are pinned or archived by their user, and who was active last."""

from alembic import op

revision = "0010"
down_revision = "0009"

TABLES = """
ALTER TABLE threads
    ADD COLUMN is_pinned   boolean NOT NULL DEFAULT false,
    ADD COLUMN is_archived boolean NOT NULL DEFAULT false;

-- Whose list of threads is to be at hand.
CREATE INDEX threads_by_last_message ON threads (last_message_at, user_id);

DROP TRIGGER copy_changes ON threads;
CREATE TRIGGER copy_changes AFTER UPDATE ON threads FOR EACH ROW WHEN (
    OLD.version <> NEW.version OR OLD.created_at <> NEW.created_at
    OR OLD.title IS DISTINCT FROM NEW.title
    OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at
    OR OLD.deleted_through IS DISTINCT FROM NEW.deleted_through
    OR OLD.erased_through IS DISTINCT FROM NEW.erased_through
    OR OLD.is_pinned <> NEW.is_pinned OR OLD.is_archived <> NEW.is_archived
    OR OLD.metadata::text <> NEW.metadata::text
) EXECUTE FUNCTION queue_row_copy('user_id', 'id');
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
