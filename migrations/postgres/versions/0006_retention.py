"""Users who were erased, how long messages are kept, and what a legal hold keeps."""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = """
-- Nothing of a user at or below the watermark is taken in again; `finished_at` is null while some
-- tier may still hold any of it.
CREATE TABLE user_erasures (
    user_id         text PRIMARY KEY,
    erased_through  uuid NOT NULL,
    erased_at       timestamptz NOT NULL,
    requested_by    text NOT NULL,
    requested_at    timestamptz NOT NULL,
    finished_at     timestamptz,
    looked_at       timestamptz,
    claimed_until   timestamptz NOT NULL DEFAULT '-infinity',
    receipt         json NOT NULL
);
CREATE INDEX user_erasures_to_finish ON user_erasures (claimed_until) WHERE finished_at IS NULL;
CREATE INDEX user_erasures_by_end ON user_erasures (finished_at);

-- An empty thread_id means the whole user.
CREATE TABLE retention_policies (
    user_id     text NOT NULL,
    thread_id   text NOT NULL DEFAULT '',
    keep_days   integer CHECK (keep_days >= 1),
    legal_hold  boolean NOT NULL DEFAULT false,
    set_by      text NOT NULL,
    set_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, thread_id),
    CHECK (keep_days IS NOT NULL OR legal_hold)
);

-- Versions that were edited or deleted while a legal hold was on them.
CREATE TABLE held_versions (
    id            uuid NOT NULL,
    version       bigint NOT NULL,
    user_id       text NOT NULL,
    thread_id     text NOT NULL,
    role          text NOT NULL,
    content       text NOT NULL,
    metadata      json NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    content_hash  text NOT NULL,
    held_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, version)
);
CREATE INDEX held_versions_of_thread ON held_versions (user_id, thread_id);

-- How far a deleted thread has left ClickHouse physically.
ALTER TABLE threads ADD COLUMN purged_through uuid;
CREATE INDEX threads_to_purge ON threads (user_id, id)
    WHERE deleted_through IS NOT NULL AND purged_through IS DISTINCT FROM deleted_through;
"""

# What is erased is hidden at once, wherever it still is, so readers must see the watermark.
ROW_LEVEL_SECURITY = """
GRANT SELECT ON user_erasures TO threadkeep_web;
ALTER TABLE user_erasures ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_erasure ON user_erasures TO threadkeep_web
    USING (user_id = current_setting('app.user_id', true));
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)
    op.get_bind().exec_driver_sql(ROW_LEVEL_SECURITY)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
