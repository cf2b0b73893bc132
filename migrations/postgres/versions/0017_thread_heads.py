"""The ends of the hash chains of threads, whose links are in ClickHouse."""

from alembic import op

revision = "0017"
down_revision = "0016"

TABLES = """
CREATE TABLE IF NOT EXISTS thread_heads (
    user_id    text NOT NULL,
    thread_id  text NOT NULL,
    length     bigint NOT NULL,
    link       text NOT NULL,
    linked_at  timestamptz NOT NULL,
    PRIMARY KEY (user_id, thread_id)
);
CREATE INDEX IF NOT EXISTS thread_heads_by_time ON thread_heads (linked_at);

-- Until the heads that ClickHouse knows are here, no link is made: a chain would begin anew.
CREATE TABLE IF NOT EXISTS chain_state (
    only_one  boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    is_whole  boolean NOT NULL,
    sent_at   timestamptz
);
INSERT INTO chain_state (is_whole) VALUES (false) ON CONFLICT DO NOTHING;

GRANT SELECT ON thread_heads TO threadkeep_web;
ALTER TABLE thread_heads ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own_heads ON thread_heads;
CREATE POLICY own_heads ON thread_heads TO threadkeep_web
    USING (user_id = current_setting('app.user_id', true));
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
