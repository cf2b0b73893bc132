"""The pending log as a test sees it from outside, and entries put into it by hand."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select

from models import codec
from models.tables import messages
from storage.errors import TierUnavailable
from storage.redis import keys
from storage.redis.pending_log import LogEntry
from wiring.process import Services

MANY = 1_000_000


class Row(NamedTuple):
    """A message as PostgreSQL has it, and when it was last written there."""

    version: int
    persisted_at: datetime


def entries(services: Services) -> list[LogEntry]:
    """Everything that waits in the log now."""
    log = services.tiers.pending_log
    # A batch of a drain is bounded in bytes.
    return [entry for slot in range(log.slots) for entry in log.page(slot, "-", MANY)]


def put(services: Services, again: Iterable[LogEntry]) -> list[str]:
    """Puts copies of entries into the log, in this order; gives their new entry ids."""
    pipeline = services.tiers.redis_client.pipeline(transaction=False)
    for entry in again:
        fields: dict[Any, Any] = {entry.kind: entry.record}
        if entry.key is not None:
            fields["key"] = entry.key
        pipeline.xadd(keys.pending(entry.slot), fields)
    return [entry_id.decode() for entry_id in pipeline.execute()]


def drained(services: Services) -> bool:
    """Whether the log is empty after one look of a worker, who takes less when that is too much."""
    with suppress(TierUnavailable):
        services.jobs.persistence.drain_backlog()
    return sum(services.tiers.pending_log.backlog()) == 0


def age_seconds(services: Services) -> float:
    """For how long the oldest entry of the log waits."""
    oldest_us = services.tiers.pending_log.oldest_pending_us()
    return 0.0 if oldest_us is None else (services.tiers.pending_log.now_us() - oldest_us) / 1e6


def unsettled(services: Services) -> dict[str, Row]:
    """The rows of messages that are committed although the log still holds them."""
    waiting = {
        message.id: message.version
        for message in (codec.decode(e.record) for e in entries(services) if e.kind == "message")
    }
    rows = committed(services, waiting)
    return {name: row for name, row in rows.items() if row.version >= waiting[name]}


def committed(services: Services, message_ids: Iterable[str]) -> dict[str, Row]:
    """Those of these messages that PostgreSQL has, by id."""
    columns = (messages.c.id, messages.c.version, messages.c.persisted_at)
    query = select(*columns).where(messages.c.id.in_(list(message_ids)))
    with services.tiers.job_engine.connect() as connection:
        found = connection.execute(query)
        return {row.id: Row(row.version, row.persisted_at) for row in found}


def rewritten(services: Services, rows: Mapping[str, Row]) -> dict[str, Row]:
    """What became of rows that were written again without a newer version, or are gone."""
    now = committed(services, rows)
    return {
        name: row
        for name, row in rows.items()
        if name not in now or (now[name] != row and now[name].version <= row.version)
    }
