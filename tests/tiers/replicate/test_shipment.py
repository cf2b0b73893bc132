"""PostgreSQL to ClickHouse: by way of the outbox, early, and once."""

from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from sqlalchemy import text

from jobs.replicate.outbox import Shipped
from models import codec, ids
from models.message import Message
from storage.errors import TierUnavailable
from support.data.samples import message, revised
from support.faults.outages import process
from support.faults.slowness import each_takes
from support.stack.clickhouse_requests import clickhouse_post
from support.waiting import eventually
from wiring.process import Services


def archived(alone: Services, user: str) -> list[Message]:
    return alone.tiers.clickhouse.page(user, "t", ids.LOWEST, ids.HIGHEST, "asc", 1000).messages


def waiting(alone: Services) -> int:
    with alone.tiers.job_engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM clickhouse_outbox")).scalar_one())


@pytest.fixture(autouse=True)
def empty_outbox(alone: Services) -> None:
    alone.jobs.replication.ship_all()


def test_committed_messages_are_shipped_once(
    alone: Services, user: str, write: Callable[..., int]
) -> None:
    made = [message(user) for _ in range(5)]
    write(*made)
    assert waiting(alone) == 5
    assert alone.jobs.replication.ship() == Shipped(5, 5, False)
    assert archived(alone, user) == made
    assert waiting(alone) == 0
    assert alone.jobs.replication.ship() == Shipped()


def test_what_is_too_much_at_once_is_shipped_in_smaller_batches(
    alone: Services, user: str, write: Callable[..., int]
) -> None:
    """A deadline that twenty messages keep, and forty do not."""
    made = [message(user) for _ in range(40)]
    write(*made)
    own = process(alone, database_job_timeout_seconds=0.6, ship_batch_messages=50).jobs.replication

    def is_shipped() -> bool:
        with suppress(TierUnavailable):
            own.ship_all()
        return waiting(alone) == 0

    with each_takes(alone, "clickhouse_outbox", "DELETE", 0.02):
        eventually(is_shipped)
    assert archived(alone, user) == made


def test_an_id_that_is_queued_twice_is_shipped_once_as_it_is_now(
    alone: Services, user: str, write: Callable[..., int]
) -> None:
    first = message(user)
    write(first)
    write(revised(first))
    assert alone.jobs.replication.ship() == Shipped(2, 1, False)
    assert archived(alone, user) == [revised(first)]


def test_a_tombstone_is_shipped_too(alone: Services, user: str, write: Callable[..., int]) -> None:
    first = message(user)
    write(first)
    alone.jobs.replication.ship_all()
    write(revised(first, deleted=True))
    alone.jobs.replication.ship_all()
    assert archived(alone, user) == []
    found = alone.tiers.clickhouse.message(user, first.id)
    assert found is not None
    assert found[0].content == ""


def test_an_outbox_larger_than_a_batch_is_shipped_whole(
    alone: Services, user: str, write: Callable[..., int]
) -> None:
    made = [message(user) for _ in range(10)]
    write(*made)
    small = Services(
        msgspec.structs.replace(alone.settings, ship_batch_messages=3)
    ).jobs.replication
    assert small.ship() == Shipped(3, 3, True)
    assert small.ship_all() == Shipped(7, 7, False)
    assert archived(alone, user) == made


def test_while_clickhouse_is_away_the_outbox_waits(
    alone: Services, user: str, write: Callable[..., int]
) -> None:
    made = [message(user) for _ in range(3)]
    write(*made)
    nowhere = msgspec.structs.replace(
        alone.settings, clickhouse_url="clickhouse+http://default:@127.0.0.1:1/default"
    )
    away = Services(nowhere).jobs.replication
    with pytest.raises(TierUnavailable):
        away.ship_all()
    assert waiting(alone) == 3
    alone.jobs.replication.ship_all()
    assert archived(alone, user) == made


@pytest.mark.usefixtures("no_merges")
def test_a_crash_after_the_insert_leaves_one_copy(
    alone: Services, user: str, write: Callable[..., int]
) -> None:
    made = [message(user) for _ in range(3)]
    write(*made)
    # The outbox as it was before: what a rollback after the insert leaves.
    with alone.tiers.job_engine.connect() as connection:
        query = text("SELECT message_id FROM clickhouse_outbox ORDER BY sequence")
        before = connection.execute(query).scalars().all()
    alone.jobs.replication.ship()
    with alone.tiers.job_engine.begin() as connection:
        for name in before:
            connection.execute(
                text("INSERT INTO clickhouse_outbox (message_id) VALUES (:id)"), {"id": name}
            )
    alone.jobs.replication.ship()
    assert archived(alone, user) == made
    counted = clickhouse_post(
        alone.tiers.job_clickhouse,
        "SELECT count() FROM messages WHERE user_id = {user:String}",
        settings={"param_user": user},
    )
    assert int(counted) == 3


def test_one_process_ships_at_a_time(alone: Services, user: str, write: Callable[..., int]) -> None:
    write(message(user))
    lock = text("SELECT pg_advisory_xact_lock(hashtext('threadkeep:ship'))")
    with alone.tiers.request_engine.connect() as rival:
        rival.execute(lock)
        assert alone.jobs.replication.ship() == Shipped()
        rival.rollback()
    assert alone.jobs.replication.ship().shipped == 1


def test_what_is_shipped_keeps_its_hash(
    alone: Services, user: str, write: Callable[..., int]
) -> None:
    one = message(user, metadata={"b": 1.5, "a": [None, True, {"z": "\u2028"}]})
    write(one)
    alone.jobs.replication.ship_all()
    (found,) = archived(alone, user)
    assert found == one
    assert codec.is_intact(found)
