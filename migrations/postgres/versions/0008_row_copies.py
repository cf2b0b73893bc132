"""Small tables on their way to ClickHouse, and what a recovery notes of itself."""

from alembic import op

revision = "0008"
down_revision = "0007"

COPIED = {
    # A thread's own data; what its messages say of it is counted anew. Comparing is cheap, and a
    # drain changes nothing but counters.
    "threads": """
        OLD.version <> NEW.version OR OLD.created_at <> NEW.created_at
        OR OLD.title IS DISTINCT FROM NEW.title
        OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at
        OR OLD.deleted_through IS DISTINCT FROM NEW.deleted_through
        OR OLD.erased_through IS DISTINCT FROM NEW.erased_through
        OR OLD.metadata::text <> NEW.metadata::text""",
    "redis_state": "OLD.installation <> NEW.installation",
    "archive_boundary": "true",
    "dead_letters": "true",
    "lost_acknowledgements": "true",
    "archive_fence": "true",
    "archive_units": "true",
    "archive_slices": "true",
    "held_versions": "true",
    "retention_policies": "true",
    "user_erasures": "true",
    "consistency_reports": "true",
}
"""Tables whose rows are copied, and which updates count. One that does not exist is left out; a
later migration names its own to `copy_rows`."""

TABLES = """
-- Rows that ClickHouse has not confirmed yet; a row that is gone has none.
CREATE TABLE row_copies_outbox (
    sequence    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name  text NOT NULL,
    key         text NOT NULL,
    row         json
);

-- JSON, not JSONB: metadata must come back as it went in.
CREATE FUNCTION queue_row_copy() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    image json := row_to_json(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
BEGIN
    IF current_setting('threadkeep.restoring', true) = 'on' THEN
        RETURN NULL;
    END IF;
    INSERT INTO row_copies_outbox (table_name, key, row) VALUES (
        TG_TABLE_NAME,
        (SELECT json_agg(image -> name ORDER BY place)::text
         FROM unnest(TG_ARGV) WITH ORDINALITY AS of (name, place)),
        CASE WHEN TG_OP <> 'DELETE' THEN image END);
    RETURN NULL;
END $$;

-- Has a table's rows copied from now on, those included that it has already.
CREATE FUNCTION copy_rows(name text, which_updates text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key text[] := (
        SELECT array_agg(quote_literal(attname) ORDER BY array_position(indkey::int2[], attnum))
        FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
        WHERE indrelid = name::regclass AND indisprimary);
BEGIN
    EXECUTE format('CREATE TRIGGER copy_changes AFTER UPDATE ON %I FOR EACH ROW WHEN (%s)'
        ' EXECUTE FUNCTION queue_row_copy(%s)', name, which_updates, array_to_string(key, ', '));
    EXECUTE format('CREATE TRIGGER copy_rows AFTER INSERT OR DELETE ON %I FOR EACH ROW'
        ' EXECUTE FUNCTION queue_row_copy(%s)', name, array_to_string(key, ', '));
    PERFORM queue_row_copies(name);
END $$;

-- Queues every row that a table has; gives how many.
CREATE FUNCTION queue_row_copies(name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    queued bigint;
BEGIN
    EXECUTE format($query$
        INSERT INTO row_copies_outbox (table_name, key, row)
        SELECT %L, (
            SELECT json_agg(image -> attname ORDER BY array_position(indkey::int2[], attnum))::text
            FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
            WHERE indrelid = %L::regclass AND indisprimary), image
        FROM (SELECT row_to_json(%I) AS image FROM %I) AS images
    $query$, name, name, name, name);
    GET DIAGNOSTICS queued = ROW_COUNT;
    RETURN queued;
END $$;

-- Recoveries, of which one at most is unfinished. `boundary` is the archive's, while a recovery
-- has raised it so that everything is looked for in ClickHouse too.
CREATE TABLE recovery_runs (
    id                  uuid PRIMARY KEY,
    source              text NOT NULL,
    actor               text NOT NULL,
    target_rto_seconds  double precision,
    boundary            uuid NOT NULL,
    progress            json NOT NULL DEFAULT '{}',
    started_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at         timestamptz
);
CREATE UNIQUE INDEX recovery_runs_unfinished ON recovery_runs ((true)) WHERE finished_at IS NULL;

-- What every process must know whichever tier is out: kept in each of them, the newest counts.
CREATE TABLE notices (
    name   text PRIMARY KEY,
    at_us  bigint NOT NULL,
    body   json NOT NULL
);
"""


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run(TABLES.replace("%", "%%"))
    for table, which_updates in COPIED.items():
        if run(f"SELECT to_regclass('{table}')").scalar():
            run(f"SELECT copy_rows('{table}', $when${which_updates}$when$)")


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
