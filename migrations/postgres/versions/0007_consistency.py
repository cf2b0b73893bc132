"""What each check of the tiers found."""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
CREATE TABLE consistency_reports (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed')),
    actor        text NOT NULL,
    scope        json NOT NULL,
    repair       boolean NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    score        double precision,
    report       json
);
CREATE INDEX consistency_reports_done ON consistency_reports (id) WHERE state = 'done';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
