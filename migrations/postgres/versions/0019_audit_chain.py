"""The audit trail is a chain: each entry's hash is over the one before it. PostgreSQL makes it at
the commit of whoever writes an entry, who may neither leave that out nor change it later."""

from alembic import op

revision = "0019"
down_revision = "0018"

TABLES = """
-- The places of entries, in the order of their commits.
CREATE TABLE IF NOT EXISTS audit_chain (
    position       bigint PRIMARY KEY,
    audit_id       uuid NOT NULL UNIQUE,
    previous_hash  text NOT NULL,
    hash           text NOT NULL
);
CREATE TABLE IF NOT EXISTS audit_head (
    singleton  integer PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    position   bigint NOT NULL,
    hash       text NOT NULL
);
INSERT INTO audit_head (position, hash) VALUES (0, '') ON CONFLICT DO NOTHING;
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

FUNCTIONS = """
-- SHA-256 over netstrings of the hash before, the place, and all that the entry says.
CREATE OR REPLACE FUNCTION audit_hash(previous text, place bigint, entry audit_trail) RETURNS text
STABLE LANGUAGE sql AS $$
    SELECT encode(sha256(convert_to(
        string_agg(octet_length(field) || ':' || field || ',', '' ORDER BY number), 'UTF8')), 'hex')
    FROM unnest(ARRAY[
        previous, place::text, entry.id::text,
        to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        entry.actor, entry.action, entry.subject, entry.counts::text, entry.details::text
    ]) WITH ORDINALITY AS of (field, number)
$$;

CREATE OR REPLACE FUNCTION chain_audit_entry(entry audit_trail) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    head audit_head;
BEGIN
    -- One that was lost with its server comes back into its place, and is found if it is another.
    IF EXISTS (SELECT FROM audit_chain WHERE audit_id = entry.id) THEN
        RETURN;
    END IF;
    -- Locked until the commit, which is next.
    SELECT * INTO head FROM audit_head FOR UPDATE;
    head.position := head.position + 1;
    INSERT INTO audit_chain (position, audit_id, previous_hash, hash) VALUES (
        head.position, entry.id, head.hash, audit_hash(head.hash, head.position, entry))
    RETURNING hash INTO head.hash;
    UPDATE audit_head SET position = head.position, hash = head.hash;
END $$;

CREATE OR REPLACE FUNCTION chain_new_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chain_audit_entry(NEW);
    RETURN NULL;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION chain_new_entry() SECURITY DEFINER'
                   ' SET search_path = %I, pg_temp', current_schema());
END $$;
REVOKE EXECUTE ON FUNCTION chain_new_entry() FROM PUBLIC;
"""

# What is there already comes first, in the order of its ids, and goes to ClickHouse once more.
CHAINED = """
LOCK TABLE audit_trail IN SHARE ROW EXCLUSIVE MODE;
DO $$
DECLARE
    entry audit_trail;
BEGIN
    FOR entry IN SELECT * FROM audit_trail WHERE id NOT IN (SELECT audit_id FROM audit_chain)
                 ORDER BY id LOOP
        PERFORM chain_audit_entry(entry);
    END LOOP;
END $$;
INSERT INTO audit_outbox (audit_id) SELECT id FROM audit_trail ON CONFLICT DO NOTHING;
DROP TRIGGER IF EXISTS chained ON audit_trail;
-- At the commit, so that nobody holds the head of the chain while waiting for something else.
CREATE CONSTRAINT TRIGGER chained AFTER INSERT ON audit_trail DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION chain_new_entry();
SELECT grant_to_programs();
"""


def upgrade() -> None:
    for part in (TABLES, FUNCTIONS, CHAINED):
        op.get_bind().exec_driver_sql(part.replace("%", "%%"))


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
