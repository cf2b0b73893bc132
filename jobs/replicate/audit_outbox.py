"""Carries entries of the audit trail to ClickHouse."""

from sqlalchemy import Connection

from jobs.replicate.outbox import ClickHouseOutbox
from storage.postgres.driver import execute
from storage.tiers import Tiers

BATCH_ENTRIES = 1_000
LEAST_ENTRIES = 8

_TAKE = """
WITH taken AS (
    DELETE FROM audit_outbox WHERE audit_id IN (
        SELECT audit_id FROM audit_outbox ORDER BY audit_id LIMIT :batch)
    RETURNING audit_id
)
SELECT count(*) AS taken, count(*) AS shipped, string_agg(json_build_object(
    'id', id, 'at', at, 'actor', actor, 'action', action, 'subject', subject,
    'counts', counts::text, 'details', details::text, 'position', position,
    'previous_hash', previous_hash, 'hash', hash)::text, E'\\n' ORDER BY position) AS lines
FROM audit_trail JOIN audit_chain ON audit_id = id WHERE id IN (SELECT audit_id FROM taken)
"""
_QUEUE_ALL = "INSERT INTO audit_outbox (audit_id) SELECT id FROM audit_trail ON CONFLICT DO NOTHING"


def audit_outbox(tiers: Tiers) -> ClickHouseOutbox:
    """The queue of entries that ClickHouse does not have yet."""
    return ClickHouseOutbox(
        tiers, _TAKE, "audit_trail", "ship-audit", most=BATCH_ENTRIES, least=LEAST_ENTRIES
    )


def queue_all(connection: Connection) -> int:
    """Queues every entry that is not queued yet; gives how many."""
    return execute(connection, _QUEUE_ALL).rowcount
