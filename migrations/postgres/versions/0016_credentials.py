"""API keys, and tokens that were revoked. A counter tells every process when to read them again."""

from alembic import op

revision = "0016"
down_revision = "0015"

TABLES = """
CREATE TABLE IF NOT EXISTS api_keys (
    id            uuid PRIMARY KEY,
    hash          bytea NOT NULL UNIQUE,
    prefix        text NOT NULL,
    name          text NOT NULL,
    user_id       text NOT NULL,
    scopes        json NOT NULL,
    created_at    timestamptz NOT NULL,
    created_by    text NOT NULL,
    expires_at    timestamptz,
    last_used_at  timestamptz,
    revoked_at    timestamptz,
    revoked_by    text
);
CREATE INDEX IF NOT EXISTS api_keys_in_use ON api_keys (id) WHERE revoked_at IS NULL;

-- One token by its jti, or all of a user that were issued before a time.
CREATE TABLE IF NOT EXISTS token_revocations (
    id          uuid PRIMARY KEY,
    token_id    text,
    user_id     text,
    before      timestamptz,
    until       timestamptz,
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL,
    CHECK ((token_id IS NULL) <> (user_id IS NULL) AND (user_id IS NULL) = (before IS NULL))
);

CREATE TABLE IF NOT EXISTS credential_changes (
    only_one  boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    number    bigint NOT NULL
);
INSERT INTO credential_changes (number) VALUES (0) ON CONFLICT DO NOTHING;

-- The counter's lock puts the changes in the order in which they are seen.
CREATE OR REPLACE FUNCTION count_credential_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE credential_changes SET number = number + 1;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER counted AFTER INSERT OR DELETE OR TRUNCATE
    OR UPDATE OF hash, user_id, name, scopes, expires_at, revoked_at ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION count_credential_change();
CREATE OR REPLACE TRIGGER counted AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE ON token_revocations
    FOR EACH STATEMENT EXECUTE FUNCTION count_credential_change();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
