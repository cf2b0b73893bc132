"""Roles of programs, each with the rights it needs; row-level security for writes, and on every
table that names a user. Where the roles cannot be made, everything goes on with the one there is.

`threadkeep_web` acts for the users whom a transaction names, `threadkeep_operator` for an admin,
and `threadkeep_worker` for all users, as jobs do. None of them owns anything.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

# What whoever may make no roles lacks is found by the doctor.
ROLES = """
DO $$
DECLARE
    program text;
BEGIN
    FOREACH program IN ARRAY ARRAY['threadkeep_worker', 'threadkeep_operator'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = program) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', program);
            END IF;
            IF NOT pg_has_role(current_user, program, 'SET') THEN
                EXECUTE format('GRANT %I TO CURRENT_USER', program);
            END IF;
        EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
            RAISE NOTICE 'no role %', program;
        END;
    END LOOP;
END $$;
"""

# A dead letter is its user's, as far as the beginning of the record says whose it is.
DEAD_LETTERS = r"""
CREATE OR REPLACE FUNCTION user_of_record(record bytea) RETURNS text
    IMMUTABLE STRICT LANGUAGE plpgsql AS $$
DECLARE
    quoted text;
BEGIN
    quoted := substring(convert_from(substring(record FOR 4096), 'LATIN1') FROM
        '^\{"version":[^,"]*,(?:"id":"(?:[^"\\]|\\.)*",(?:"thread_id":"(?:[^"\\]|\\.)*",)?'
        '|"updated_at":"[^"]*","kind":"[^"]*",)"user_id":("(?:[^"\\]|\\.)*")');
    RETURN convert_from(convert_to(quoted, 'LATIN1'), 'UTF8')::json #>> '{}';
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;
ALTER TABLE dead_letters
    ADD COLUMN IF NOT EXISTS user_id text GENERATED ALWAYS AS (user_of_record(record)) STORED;
CREATE INDEX IF NOT EXISTS dead_letters_of_user ON dead_letters (user_id);
"""

# `app.user_ids` are the users of a transaction as PostgreSQL writes an array of texts, and
# `app.user_id` is the one of a reader. The subquery is evaluated once for all rows.
OF_THESE_USERS = """ANY ((SELECT coalesce(nullif(current_setting('app.user_ids', true), '')::text[],
    ARRAY[current_setting('app.user_id', true)]))::text[])"""
POLICIES = {
    "messages": "own_messages",
    "threads": "own_threads",
    "user_erasures": "own_erasure",
    "state_records": "own_states",
    "checkpoints": "own_checkpoints",
    "held_versions": "own_versions",
    "idempotency_keys": "own_keys",
    "retention_policies": "own_policies",
    "redis_backfill": "own_backfill",
    "dead_letters": "own_letters",
    "thread_heads": "own_heads",
}
# Nobody acts on these for a user.
CLOSED = ("api_keys", "token_revocations")
# Of the copies that wait a user may see and carry their states'.
COPIES = f"""
ALTER TABLE row_copies_outbox ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own_copies ON row_copies_outbox;
CREATE POLICY own_copies ON row_copies_outbox TO threadkeep_web USING (
    CASE table_name WHEN 'state_records' THEN key::json ->> 1
                    WHEN 'checkpoints' THEN key::json ->> 0 END = {OF_THESE_USERS});
"""

FUNCTIONS = """
-- Makes the partition of the week that begins on a Monday.
CREATE OR REPLACE FUNCTION make_messages_partition(monday date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text := to_char(monday, '"messages_"YYYY_MM_DD');
    bounds text[] := ARRAY(
        SELECT overlay(lpad(to_hex(greatest(0, (extract(epoch FROM day) * 1000)::bigint)), 12, '0')
                       PLACING '-' FROM 9 FOR 0) || '-0000-0000-000000000000'
        FROM unnest(ARRAY[monday, monday + 7]) AS day);
BEGIN
    IF extract(isodow FROM monday) <> 1 THEN
        RAISE EXCEPTION 'no week of messages begins on %', monday;
    END IF;
    -- Attaching a table that exists does not lock readers and writers out of the other partitions.
    EXECUTE format('CREATE TABLE %I (LIKE messages INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE messages ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   name, bounds[1], bounds[2]);
END $$;

CREATE OR REPLACE FUNCTION detach_messages_partition(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE messages DETACH PARTITION %I', name);
END $$;

-- Drops a week of messages that is no partition any more.
CREATE OR REPLACE FUNCTION drop_messages_partition(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF name !~ '^messages_[0-9]{4}_[0-9]{2}_[0-9]{2}$' OR EXISTS (
        SELECT FROM pg_class WHERE oid = to_regclass(quote_ident(name)) AND relispartition) THEN
        RAISE EXCEPTION '% is no detached week of messages', name;
    END IF;
    EXECUTE format('DROP TABLE %I', name);
END $$;

-- Whether Redis lacks anything of anybody.
CREATE OR REPLACE FUNCTION redis_lacks_writes() RETURNS boolean STABLE LANGUAGE sql AS
    'SELECT EXISTS (SELECT FROM redis_backfill)';

-- These act as the owner for whoever may call them. No other table may stand in for one of ours.
DO $$
DECLARE
    own text;
BEGIN
    FOREACH own IN ARRAY ARRAY['make_messages_partition(date)', 'detach_messages_partition(text)',
        'drop_messages_partition(text)', 'redis_lacks_writes()', 'queue_row_copy()'] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp',
                       own, current_schema());
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', own);
    END LOOP;
END $$;
"""

GRANTS = """
-- Gives the roles that there are their rights on the tables that there are. `threadkeep migrate`
-- calls it each time, so that a table or a role that came later is found too.
CREATE OR REPLACE FUNCTION grant_to_programs() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    most text := 'SELECT, INSERT, UPDATE, DELETE' || CASE
        WHEN current_setting('server_version_num')::int >= 170000 THEN ', MAINTAIN' ELSE '' END;
    read_only text[] := ARRAY['alembic_version', 'audit_trail', 'audit_chain', 'audit_head'];
    program text;
    found record;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO threadkeep_web', current_schema());
    GRANT SELECT, INSERT, UPDATE ON messages, threads, state_records, notices TO threadkeep_web;
    GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys, redis_detours TO threadkeep_web;
    GRANT SELECT, INSERT, DELETE ON checkpoints TO threadkeep_web;
    GRANT SELECT, INSERT ON held_versions, clickhouse_outbox TO threadkeep_web;
    GRANT SELECT, DELETE ON row_copies_outbox TO threadkeep_web;
    GRANT SELECT ON row_copies_outbox_sequence_seq TO threadkeep_web;
    GRANT SELECT, UPDATE (finished_at) ON user_erasures TO threadkeep_web;
    GRANT INSERT ON redis_backfill, lost_acknowledgements TO threadkeep_web;
    GRANT SELECT ON archive_boundary, alembic_version, redis_state, recovery_runs,
        retention_policies, dead_letters, thread_heads TO threadkeep_web;
    GRANT EXECUTE ON FUNCTION make_messages_partition(date), redis_lacks_writes()
        TO threadkeep_web;
    FOREACH program IN ARRAY ARRAY['threadkeep_worker', 'threadkeep_operator'] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = program);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), program);
        EXECUTE format('GRANT EXECUTE ON FUNCTION make_messages_partition(date),'
                       ' redis_lacks_writes() TO %I', program);
        EXECUTE format('ALTER DEFAULT PRIVILEGES GRANT %s ON TABLES TO %I', most, program);
        EXECUTE format('ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO %I', program);
        FOR found IN
            SELECT relname AS name, relkind AS kind, relrowsecurity AS is_secured,
                   EXISTS (SELECT FROM pg_policy
                           WHERE polrelid = c.oid AND polname = program) AS has_policy
            FROM pg_class c
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'S')
              AND relowner = current_user::regrole
        LOOP
            IF found.name = ANY (read_only) THEN
                -- A new table has the default rights, and one of them must not be written.
                EXECUTE format('REVOKE ALL ON TABLE %I FROM %I', found.name, program);
            END IF;
            EXECUTE format('GRANT %s ON %s %I TO %I', CASE
                WHEN found.kind = 'S' THEN 'ALL'
                WHEN found.name = 'audit_trail' THEN 'SELECT, INSERT'
                WHEN found.name = ANY (read_only) THEN 'SELECT'
                ELSE most END,
                CASE found.kind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, found.name, program);
            IF found.is_secured AND NOT found.has_policy THEN
                EXECUTE format('CREATE POLICY %I ON %I TO %I USING (true)',
                               program, found.name, program);
            END IF;
        END LOOP;
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'threadkeep_worker') THEN
        GRANT EXECUTE ON FUNCTION detach_messages_partition(text), drop_messages_partition(text)
            TO threadkeep_worker;
    END IF;
END $$;
SELECT grant_to_programs();
"""


def _secured(table: str, policy: str) -> str:
    return f"""
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS {policy} ON {table};
CREATE POLICY {policy} ON {table} TO threadkeep_web USING (user_id = {OF_THESE_USERS});
"""


def upgrade() -> None:
    closed = "".join(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;\n" for table in CLOSED)
    policies = "".join(_secured(table, policy) for table, policy in POLICIES.items())
    for part in (ROLES, DEAD_LETTERS, policies, closed, COPIES, FUNCTIONS, GRANTS):
        op.get_bind().exec_driver_sql(part.replace("%", "%%"))


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
