"""What waits to be carried: it must be safe from eviction, not wait for long, and be found."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from jobs.consistency.compare.redis_copies import scan
from jobs.consistency.judge.confirmation import PATIENCE_SECONDS, pending
from jobs.consistency.report import Difference
from models.message import Message
from storage.postgres.driver import execute, translated
from storage.redis import keys
from storage.redis.pending_log import LogEntry
from storage.resilience.bites import batches
from storage.tiers import Tiers

EVERY_STREAM = "pending:{*}"
STREAMS_AT_ONCE = 500
ENTRIES_AT_ONCE = 200
QUEUES = ("clickhouse_outbox", "redis_backfill")

_OLD = """
SELECT count(*) AS rows, extract(epoch FROM clock_timestamp() - min(queued_at)) AS age
FROM {queue} WHERE queued_at < clock_timestamp() - make_interval(secs => :seconds)"""


def evictable(tiers: Tiers) -> list[Difference]:
    """Hot copies that may be evicted although the log still has their version; draining the log
    repairs that, so it comes after. Raises `TierError`."""
    found: list[Difference] = []
    for batch in batches(pending(tiers.pending_log), ENTRIES_AT_ONCE):
        found += _evictable(tiers, batch)
    return found


def protect(tiers: Tiers, differences: Iterable[Difference]) -> None:
    """Takes the time to live from such copies. One drained meanwhile is named at the next check."""
    names = [keys.message(tiers.redis.slot_of_message(one.id), one.id) for one in differences]
    tiers.redis_door.each(lambda pipeline, name: pipeline.persist(name), names)


def queues(tiers: Tiers) -> list[Difference]:
    """The lists that hold something old, although they were just emptied, and the streams of slots
    that nobody drains, as after THREADKEEP_SHARDS was made smaller. Raises `TierError`."""
    with translated(), tiers.job_engine.connect() as connection:
        found = [one for queue in QUEUES for one in _old(connection, queue)]
    log = tiers.pending_log
    oldest_us = log.oldest_pending_us()
    age_seconds = 0.0 if oldest_us is None else (log.now_us() - oldest_us) / 1e6
    if age_seconds > PATIENCE_SECONDS:
        what = f"{sum(log.backlog())} entries, the oldest {age_seconds:.0f} s old"
        found.append(Difference("queues", "redis", "waiting", "pending", found=what))
    for batch in scan(tiers.redis_door, EVERY_STREAM, STREAMS_AT_ONCE):
        for name in batch:
            slot = slot_of(name)
            if slot is None or slot < log.slots:
                continue
            with tiers.redis_door.guarded() as client:
                length = int(client.xlen(name))
            if length:
                what = f"{length} entries in a slot beyond {log.slots}"
                found.append(Difference("queues", "redis", "orphaned", name, found=what))
    return found


def slot_of(stream: str) -> int | None:
    """The slot in the name of a stream."""
    digits = stream.removeprefix("pending:{").removesuffix("}")
    return int(digits) if digits.isdigit() else None


def _evictable(tiers: Tiers, batch: Sequence[tuple[LogEntry, Message]]) -> list[Difference]:
    def ask(pipeline: Any, logged: tuple[LogEntry, Message]) -> None:
        entry, message = logged
        name = keys.message(entry.slot, message.id)
        pipeline.getrange(name, 0, 40)
        pipeline.ttl(name)
        # Last: an entry that is still in the log was not settled before its copy was read.
        pipeline.xrange(keys.pending(entry.slot), entry.entry_id, entry.entry_id)

    answers = tiers.redis_door.each(ask, batch)
    return [
        Difference("redis-postgresql", "redis", "evictable", one.id, one.user_id, one.thread_id)
        for (_, one), head, ttl, still in zip(
            batch, answers[::3], answers[1::3], answers[2::3], strict=True
        )
        if still and ttl >= 0 and head.startswith(b'{"version":%d,' % one.version)
    ]


def _old(connection: Connection, queue: str) -> list[Difference]:
    query = _OLD.format(queue=queue)
    row = execute(connection, query, seconds=PATIENCE_SECONDS).one()
    what = f"{row.rows} rows, the oldest {float(row.age or 0):.0f} s old"
    found = Difference("queues", "postgresql", "waiting", queue, found=what)
    return [found] if row.rows else []
