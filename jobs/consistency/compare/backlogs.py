"""The log of Redis: what it holds must be safe from eviction, be carried, and be found."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from jobs.consistency.compare.redis_copies import scan
from jobs.consistency.judge.in_flight import MOST_ENTRIES, PATIENCE_SECONDS
from jobs.consistency.report import Difference
from models import codec
from models.message import Message
from storage.redis import keys
from storage.redis.driver import RedisGateway
from storage.redis.pending_log import LogEntry, PendingLog

EVERY_STREAM = "pending:{*}"
STREAMS_AT_ONCE = 500
ENTRIES_AT_ONCE = 200


def evictable(door: RedisGateway, log: PendingLog) -> list[Difference]:
    """Hot copies that may be evicted although the log still has their version.

    To be asked before the log is drained, which mends it. Raises `TierError`.
    """
    entries = [
        (entry, message)
        for entry in log.read(range(log.slots), MOST_ENTRIES)
        if (message := _message_of(entry)) is not None
    ]
    found: list[Difference] = []
    for at in range(0, len(entries), ENTRIES_AT_ONCE):
        found += _evictable(door, entries[at : at + ENTRIES_AT_ONCE])
    return found


def protect(door: RedisGateway, log: PendingLog, differences: list[Difference]) -> None:
    """Takes the time to live from such copies. One drained meanwhile is named at the next check."""
    with door.guarded() as client:
        pipeline: Any = client.pipeline(transaction=False)
        for one in differences:
            slot = int(one.id[15:18], 16) % log.slots
            pipeline.persist(keys.message(slot, one.id))
        pipeline.execute()


def waiting(log: PendingLog) -> list[Difference]:
    """The log, where something in it waits for longer than it should. Raises `TierError`."""
    oldest_us = log.oldest_pending_us()
    age_seconds = 0.0 if oldest_us is None else (log.now_us() - oldest_us) / 1e6
    if age_seconds <= PATIENCE_SECONDS:
        return []
    found = f"{sum(log.backlog())} entries, the oldest {age_seconds:.0f} s old"
    return [Difference(pair="queues", tier="redis", kind="waiting", id="pending", found=found)]


def orphans(door: RedisGateway, log: PendingLog) -> list[Difference]:
    """Streams of slots that nobody drains, as after THREADKEEP_SHARDS was made smaller."""
    found = []
    for batch in scan(door, EVERY_STREAM, STREAMS_AT_ONCE):
        for name in batch:
            slot = slot_of(name)
            if slot is None or slot < log.slots:
                continue
            with door.guarded() as client:
                length = int(client.xlen(name))
            if length:
                text = f"{length} entries in a slot beyond {log.slots}"
                found.append(
                    Difference(pair="queues", tier="redis", kind="orphaned", id=name, found=text)
                )
    return found


def slot_of(stream: str) -> int | None:
    """The slot in the name of a stream."""
    digits = stream.removeprefix("pending:{").removesuffix("}")
    return int(digits) if digits.isdigit() else None


def _message_of(entry: LogEntry) -> Message | None:
    try:
        return codec.decode(entry.record) if entry.kind == "message" else None
    except codec.Corrupt:
        return None


def _evictable(door: RedisGateway, batch: Sequence[tuple[LogEntry, Message]]) -> list[Difference]:
    with door.guarded() as client:
        pipeline: Any = client.pipeline(transaction=False)
        for entry, message in batch:
            name = keys.message(entry.slot, message.id)
            pipeline.getrange(name, 0, 40)
            pipeline.ttl(name)
            # Last: an entry that is still in the log was not settled before its copy was looked at.
            pipeline.xrange(keys.pending(entry.slot), entry.entry_id, entry.entry_id)
        answers = pipeline.execute()
    return [
        Difference(
            pair="redis-postgresql",
            tier="redis",
            kind="evictable",
            id=message.id,
            user_id=message.user_id,
            thread_id=message.thread_id,
        )
        for (_, message), head, ttl, still in zip(
            batch, answers[::3], answers[1::3], answers[2::3], strict=True
        )
        if still and ttl >= 0 and head.startswith(b'{"version":%d,' % message.version)
    ]


QUEUES = ("clickhouse_outbox", "redis_backfill")


_OLD = """
SELECT count(*) AS rows, extract(epoch FROM clock_timestamp() - min(queued_at)) AS age
FROM {queue} WHERE queued_at < clock_timestamp() - make_interval(secs => :seconds)"""


_DEAD_LETTERS = text("SELECT count(*) FROM dead_letters")


def waiting_in_postgres(connection: Connection) -> list[Difference]:
    """The lists of PostgreSQL that hold something old, although they were just emptied."""
    found = []
    for queue in QUEUES:
        query = text(_OLD.format(queue=queue))
        row = connection.execute(query, {"seconds": PATIENCE_SECONDS}).one()
        if row.rows:
            what = f"{row.rows} rows, the oldest {float(row.age):.0f} s old"
            found.append(
                Difference(pair="queues", tier="postgresql", kind="waiting", id=queue, found=what)
            )
    return found


def dead_letters(connection: Connection) -> int:
    """How many writes PostgreSQL has refused and nobody has decided on."""
    return int(connection.execute(_DEAD_LETTERS).scalar_one())
