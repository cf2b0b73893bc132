"""Messages, threads, the outbox, the dead letters and the archive boundary."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE messages (
    id            uuid PRIMARY KEY,
    user_id       text NOT NULL,
    thread_id     text NOT NULL,
    role          text NOT NULL,
    content       text NOT NULL,
    metadata      json NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    version       bigint NOT NULL CHECK (version >= 1),
    deleted_at    timestamptz,
    content_hash  text NOT NULL CHECK (length(content_hash) = 64),
    persisted_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (id);
CREATE INDEX messages_of_thread ON messages (user_id, thread_id, id);
CREATE TABLE messages_default PARTITION OF messages DEFAULT;

CREATE TABLE threads (
    user_id          text NOT NULL,
    id               text NOT NULL,
    title            text,
    metadata         json NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    version          bigint NOT NULL CHECK (version >= 1),
    deleted_at       timestamptz,
    deleted_through  uuid,
    erased_through   uuid,
    last_message_at  timestamptz,
    message_count    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, id)
);
CREATE INDEX threads_by_activity ON threads (user_id, (coalesce(last_message_at, created_at)), id);
CREATE INDEX threads_to_erase ON threads (user_id, id)
    WHERE deleted_through IS NOT NULL AND erased_through IS DISTINCT FROM deleted_through;

CREATE TABLE clickhouse_outbox (
    sequence    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  uuid NOT NULL,
    queued_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard       integer NOT NULL,
    entry_id    text NOT NULL,
    kind        text NOT NULL,
    record      bytea NOT NULL,
    reason      text NOT NULL,
    refused_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (shard, entry_id)
);

CREATE TABLE archive_boundary (
    singleton integer PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    below     uuid NOT NULL
);
INSERT INTO archive_boundary (below) VALUES ('00000000-0000-0000-0000-000000000000');
"""

# The web process reads as this role: even a query that forgot its user sees nothing.
ROW_LEVEL_SECURITY = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'threadkeep_web') THEN
        CREATE ROLE threadkeep_web NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN RAISE EXCEPTION
        'let an administrator run: CREATE ROLE threadkeep_web NOLOGIN; GRANT threadkeep_web TO %;',
        current_user;
END $$;
DO $$ BEGIN
    IF NOT pg_has_role(current_user, 'threadkeep_web', 'SET') THEN
        GRANT threadkeep_web TO CURRENT_USER;
    END IF;
END $$;
GRANT SELECT ON messages, threads, archive_boundary TO threadkeep_web;
ALTER TABLE messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE threads ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_messages ON messages TO threadkeep_web
    USING (user_id = current_setting('app.user_id', true));
CREATE POLICY own_threads ON threads TO threadkeep_web
    USING (user_id = current_setting('app.user_id', true));
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)
    op.get_bind().exec_driver_sql(ROW_LEVEL_SECURITY.replace("%", "%%"))


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
