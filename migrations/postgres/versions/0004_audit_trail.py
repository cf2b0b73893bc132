"""Who did what, when and to how many: a table that nobody can change, and its way to ClickHouse."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
CREATE TABLE audit_trail (
    id       uuid PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor    text NOT NULL,
    action   text NOT NULL,
    subject  text NOT NULL,
    counts   json NOT NULL,
    details  json NOT NULL
);
CREATE INDEX audit_trail_by_actor ON audit_trail (actor, id);
CREATE INDEX audit_trail_by_action ON audit_trail (action, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is only ever added to';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_trail
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Entries that ClickHouse has not confirmed yet.
CREATE TABLE audit_outbox (
    audit_id  uuid PRIMARY KEY
);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
