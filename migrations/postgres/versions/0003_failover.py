"""What writes beside Redis leave behind: detours, what Redis lacks, and the keys of posts."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
-- The Redis that may be believed: its run, this installation's mark in it, and since when it has
-- every Idempotency-Key.
CREATE TABLE redis_state (
    singleton        integer PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    installation     uuid NOT NULL DEFAULT gen_random_uuid(),
    run_id           text NOT NULL DEFAULT '',
    keys_whole_from  timestamptz NOT NULL DEFAULT 'infinity'
);
INSERT INTO redis_state DEFAULT VALUES;

-- A process that writes beside Redis holds a row; until it ends nobody believes Redis alone.
CREATE TABLE redis_detours (
    holder         uuid PRIMARY KEY,
    until          timestamptz NOT NULL,
    in_clickhouse  boolean NOT NULL DEFAULT false,
    said_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What was written beside Redis, to be told to it: messages, and threads where message_id is null.
CREATE TABLE redis_backfill (
    sequence    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     text NOT NULL,
    thread_id   text NOT NULL,
    message_id  uuid,
    queued_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE idempotency_keys (
    user_id     text NOT NULL,
    thread_id   text NOT NULL,
    key         text NOT NULL,
    message_id  uuid NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, thread_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (made_at);

-- Versions that Redis acknowledged and took with it when its disk was lost.
CREATE TABLE lost_acknowledgements (
    message_id  uuid NOT NULL,
    version     bigint NOT NULL,
    noticed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (message_id, version)
);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
