"""What the archiver has done and means to do: its units, what was proven of each, its fence."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
-- A partition on its way out of PostgreSQL. `stopped` keeps everything, with the reason;
-- `detached_at` says whether its table is still a partition.
CREATE TABLE archive_units (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL,
    low          uuid NOT NULL,
    high         uuid NOT NULL,
    state        text NOT NULL DEFAULT 'planned'
                 CHECK (state IN ('planned', 'proven', 'detached', 'dropped', 'stopped')),
    reason       text,
    attempt      bigint NOT NULL,
    actor        text NOT NULL,
    rows         bigint,
    reshipped    bigint NOT NULL DEFAULT 0,
    newer        bigint NOT NULL DEFAULT 0,
    planned_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    proven_at    timestamptz,
    detached_at  timestamptz,
    dropped_at   timestamptz,
    stopped_at   timestamptz
);
CREATE UNIQUE INDEX archive_units_open ON archive_units (name) WHERE state <> 'dropped';

-- The last proof of a unit: its slices as both tiers had them.
CREATE TABLE archive_slices (
    unit_id              bigint NOT NULL REFERENCES archive_units,
    period               bigint NOT NULL,
    share                integer NOT NULL,
    rows                 bigint NOT NULL,
    checksum             numeric(20) NOT NULL,
    clickhouse_rows      bigint NOT NULL,
    clickhouse_checksum  numeric(20) NOT NULL,
    proven_by            text NOT NULL CHECK (proven_by IN ('checksum', 'rows')),
    proven_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (unit_id, period, share)
);

-- The number of the latest archiver: whoever has an older one may change nothing any more.
CREATE TABLE archive_fence (
    singleton  integer PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    attempt    bigint NOT NULL
);
INSERT INTO archive_fence (attempt) VALUES (0);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
