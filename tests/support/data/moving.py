"""What time does to messages, done at once: they leave Redis, and later PostgreSQL."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import delete, select, text, update

from models import ids
from models.tables import archive_boundary, messages
from storage.postgres.locks import SLOT_LOCKS as SLOT_LOCK
from storage.redis import keys
from support.calls.api import Api
from support.patience import wait_for_locks
from support.waiting import eventually
from wiring.process import Services


def wait_until(api: Api, state: str, made: Iterable[Mapping[str, Any]]) -> None:
    """Waits until the newest versions of messages, tombstones too, are as far as `persisted` or
    `archived`, and evictable."""
    tiers = ("postgresql", "clickhouse") if state == "persisted" else ("clickhouse",)
    for one in made:
        eventually(lambda name=one["id"]: _is_there(api.receipt(name), tiers))


def from_redis(api: Api, thread_id: str = "t", **query: Any) -> dict[str, Any]:
    """A page of a thread that Redis has: on a busy machine another tier may be asked first, by a
    process that does not know for a moment what it may believe Redis."""

    def found() -> dict[str, Any] | None:
        page = api.page(thread_id, **query)
        return page if page["retrieval_source"] == "redis" else None

    return eventually(found)


def _is_there(receipt: dict[str, Any], tiers: Iterable[str]) -> bool:
    has_newest = any(
        copy["version"] == receipt["version"]
        for tier in tiers
        for copy in receipt["tiers"][tier].get("copies", ())
    )
    return has_newest and not receipt["tiers"]["redis"].get("pending")


def evict(services: Services, made: Iterable[Mapping[str, Any]], *, index: bool = True) -> None:
    """Takes persisted messages out of Redis, as memory pressure or their TTL would."""
    client = services.tiers.redis_client
    for one in made:
        slot = services.tiers.redis.slot_of_message(one["id"])
        name = keys.message(slot, one["id"])
        assert client.ttl(name) != -1, "what is not in PostgreSQL never leaves Redis"
        client.delete(name)
        if index:
            client.delete(keys.index(slot, one["user_id"], one["thread_id"]))


@contextmanager
def archived(services: Services, made: Iterable[Mapping[str, Any]]) -> Iterator[None]:
    """Leaves messages to ClickHouse alone, and puts the archive boundary back at the end."""
    names = sorted(one["id"] for one in made)
    evict(services, made)
    # As a partition's bound: the lowest uuid of a millisecond, here the next one.
    next_ms = ids.time_us_of(names[-1]) // 1000 + 1
    bound = f"{ids.mint(next_ms * 1000, 0, 0)[:13]}-0000-0000-000000000000"
    before = _move_boundary(services, bound, names)
    try:
        yield
    finally:
        _move_boundary(services, before, [])


def _move_boundary(services: Services, below: str, gone: list[str]) -> str:
    with services.tiers.job_engine.begin() as connection:
        wait_for_locks(connection)
        for name in gone:
            # A second worker may still be repeating what the first has committed.
            lock = {"lock_class": SLOT_LOCK, "slot": services.tiers.redis.slot_of_message(name)}
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock_class, :slot)"), lock)
        before: str = connection.execute(select(archive_boundary.c.below)).scalar_one()
        connection.execute(update(archive_boundary).values(below=below))
        connection.execute(delete(messages).where(messages.c.id.in_(gone)))
    return before
