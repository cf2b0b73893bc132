"""A process that fails at a named point: what it left is carried on once, and nothing twice."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
from sqlalchemy import func, select

from jobs.persist.drain import Drained
from models.tables import clickhouse_outbox, messages
from storage.errors import TierUnavailable
from storage.resilience import faultpoints
from support.data.samples import append_of, message
from wiring.process import Services


@pytest.fixture
def armed(alone: Services) -> Iterator[Callable[[str], None]]:
    """Arms one strike: the first pass of a point raises."""

    def arm(name: str) -> None:
        strikes = f"{name}:1:raise"
        faultpoints.enable(
            msgspec.structs.replace(alone.settings, faultpoints=strikes, drills=True)
        )

    yield arm
    faultpoints.enable(alone.settings)


def committed(alone: Services, user: str) -> list[str]:
    query = select(messages.c.id).where(messages.c.user_id == user).order_by(messages.c.id)
    with alone.tiers.job_engine.connect() as connection:
        return list(connection.execute(query).scalars())


def queued(alone: Services, ids: list[str]) -> int:
    query = select(func.count()).where(clickhouse_outbox.c.message_id.in_(ids))
    with alone.tiers.job_engine.connect() as connection:
        return connection.execute(query).scalar_one()


@pytest.mark.parametrize(
    ("point", "lands"),
    [("drain.after_read", False), ("drain.before_commit", False), ("drain.after_commit", True)],
)
def test_a_drain_that_fails_is_repeated_once_for_all(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    armed: Callable[[str], None],
    point: str,
    lands: bool,
) -> None:
    made = [message(user) for _ in range(3)]
    alone.tiers.redis.append([append_of(*made)], 60)
    names = [one.id for one in made]
    armed(point)
    with pytest.raises(TierUnavailable):
        drain()
    assert committed(alone, user) == (names if lands else [])
    # Whatever became of the commit, the log has not forgotten it.
    assert sum(alone.tiers.pending_log.backlog()) == 3
    assert not any(alone.tiers.redis.is_evictable(name) for name in names)
    assert drain().written == (0 if lands else 3)
    assert committed(alone, user) == names
    assert queued(alone, names) == 3
    assert sum(alone.tiers.pending_log.backlog()) == 0
    assert faultpoints.passes(point) == 2


def test_a_shipment_that_fails_behind_its_insert_leaves_one_row(
    alone: Services, user: str, write: Callable[..., int], armed: Callable[[str], None]
) -> None:
    # What waits of other tests is more than the smaller batch that follows a failure.
    alone.jobs.replication.ship_all()
    one = message(user)
    write(one)
    armed("ship.after_insert")
    with pytest.raises(TierUnavailable):
        alone.jobs.replication.ship_all()
    assert alone.tiers.clickhouse.message(user, one.id) is not None
    assert queued(alone, [one.id]) == 1
    assert alone.jobs.replication.ship_all().shipped >= 1
    assert queued(alone, [one.id]) == 0
    assert faultpoints.passes("ship.after_insert") == 2
    with alone.tiers.job_clickhouse.engine.connect() as connection:
        rows = connection.exec_driver_sql(f"SELECT count() FROM messages WHERE id = '{one.id}'")
        assert int(rows.scalar_one()) == 1
