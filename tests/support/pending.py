"""The pending log as a test sees it from outside, and entries put into it by hand."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from models import codec
from models.tables import messages
from storage import redis_keys as keys
from storage.pending_log import LogEntry
from storage.services import Services

MANY = 1_000_000


def entries(services: Services) -> list[LogEntry]:
    """Everything that waits in the log now."""
    return services.pending_log.read(range(services.pending_log.slots), MANY)


def put(services: Services, again: Iterable[LogEntry]) -> list[str]:
    """Puts copies of entries into the log, in this order; gives their new entry ids."""
    pipeline = services.redis_client.pipeline(transaction=False)
    for entry in again:
        fields: dict[Any, Any] = {entry.kind: entry.record}
        if entry.key is not None:
            fields["key"] = entry.key
        pipeline.xadd(keys.pending(entry.slot), fields)
    return [entry_id.decode() for entry_id in pipeline.execute()]


def unsettled(services: Services) -> dict[str, int]:
    """Id to version of the messages that are committed although the log still holds them."""
    waiting = {
        message.id: message.version
        for message in (codec.decode(e.record) for e in entries(services) if e.kind == "message")
    }
    rows = committed(services, waiting)
    return {name: rows[name] for name in rows if rows[name] >= waiting[name]}


def committed(services: Services, message_ids: Iterable[str]) -> dict[str, int]:
    """Id to version of those of these messages that PostgreSQL has."""
    query = select(messages.c.id, messages.c.version).where(messages.c.id.in_(list(message_ids)))
    with services.job_engine.connect() as connection:
        return {row.id: row.version for row in connection.execute(query)}
