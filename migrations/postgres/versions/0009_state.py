"""States of sessions and runs, checkpoints of runs, and states that were written beside Redis."""

from alembic import op

revision = "0009"
down_revision = "0008"

TABLES = """
-- The newest version of each state. A session has no name.
CREATE TABLE state_records (
    kind             text NOT NULL CHECK (kind IN ('session', 'run')),
    user_id          text NOT NULL,
    name             text NOT NULL,
    version          bigint NOT NULL,
    updated_at       timestamptz NOT NULL,
    expires_at       timestamptz,
    deleted_at       timestamptz,
    checkpoint       text NOT NULL,
    is_checkpoint    boolean NOT NULL,
    cleared_through  bigint NOT NULL DEFAULT 0,
    state            json NOT NULL,
    PRIMARY KEY (kind, user_id, name)
);
CREATE INDEX state_records_of_user ON state_records (user_id);
CREATE INDEX state_records_to_forget ON state_records (least(expires_at, deleted_at));

CREATE TABLE checkpoints (
    user_id     text NOT NULL,
    run_id      text NOT NULL,
    version     bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    level       text NOT NULL,
    state       json NOT NULL,
    PRIMARY KEY (user_id, run_id, version)
);

-- Of a state that was written beside Redis `thread_id` is its name.
ALTER TABLE redis_backfill ADD COLUMN state_kind text;

SELECT copy_rows('state_records', 'OLD.version <> NEW.version');
SELECT copy_rows('checkpoints', 'true');
"""

ROW_LEVEL_SECURITY = """
GRANT SELECT ON state_records, checkpoints TO threadkeep_web;
ALTER TABLE state_records ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_states ON state_records TO threadkeep_web
    USING (user_id = current_setting('app.user_id', true));
ALTER TABLE checkpoints ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_checkpoints ON checkpoints TO threadkeep_web
    USING (user_id = current_setting('app.user_id', true));
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)
    op.get_bind().exec_driver_sql(ROW_LEVEL_SECURITY)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
