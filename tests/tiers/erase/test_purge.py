"""What was deleted leaves ClickHouse physically, and nothing else does."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from jobs.consistency.report import ConsistencyReport
from jobs.erase.purge import Purged
from jobs.persist.drain import Drained
from models.message import Message
from support.calls.erasing import marker_of, persisted
from support.data.everywhere import in_clickhouse, places
from support.data.letters import listed
from support.data.moving import archived
from support.data.samples import append_of, message, revised
from support.faults import damage
from wiring.process import Services


@contextmanager
def unmerged(alone: Services) -> Iterator[None]:
    """Inside, nothing leaves ClickHouse because it happens to merge."""
    for_all = "SYSTEM {} MERGES messages"
    with alone.tiers.job_clickhouse.engine.begin() as connection:
        connection.exec_driver_sql(for_all.format("STOP"))
    try:
        yield
    finally:
        with alone.tiers.job_clickhouse.engine.begin() as connection:
            connection.exec_driver_sql(for_all.format("START"))


def versions(alone: Services, user: str) -> list[tuple[str, int]]:
    """Every row there is of a user, whatever hides it."""
    query = (
        f"SELECT toString(id), version FROM messages WHERE user_id = '{user}'"
        " ORDER BY created_at, version SETTINGS final = 0, apply_deleted_mask = 0"
    )
    with alone.tiers.job_clickhouse.engine.connect() as connection:
        return [(row[0], int(row[1])) for row in connection.exec_driver_sql(query)]


def test_a_deleted_message_leaves_nothing_but_its_tombstone(
    alone: Services, user: str, drain: Callable[[], Drained], write: Callable[..., int]
) -> None:
    one, kept, edited = persisted(alone, drain, user, 3)
    with unmerged(alone):
        write(revised(one, deleted=True), revised(edited))
        alone.jobs.replication.ship_all()
        assert (one.id, 1) in versions(alone, user)
    # A merge of its own may have been quicker: what counts is what is left.
    alone.jobs.physical_erasure.purge()
    left = versions(alone, user)
    assert [version for name, version in left if name == one.id] == [2]
    assert {(kept.id, 1), (edited.id, 2)} <= set(left)
    assert alone.jobs.physical_erasure.purge() == Purged()
    # A row that a lightweight delete has hidden is there all the same, until a mutation comes.
    with alone.tiers.job_clickhouse.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM messages WHERE user_id = '{user}'")
    assert set(in_clickhouse(alone, marker_of(user))) == {"messages.content"}
    alone.jobs.physical_erasure.purge()
    assert set(in_clickhouse(alone, marker_of(user))) == set()


def test_a_deleted_thread_leaves_also_what_clickhouse_alone_has(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    bad: ExitStack,
    check: Callable[..., ConsistencyReport],
) -> None:
    made = persisted(alone, drain, user, 4)
    bad.enter_context(archived(alone, [msgspec.to_builtins(one) for one in made[:2]]))
    alone.threads.delete(user, "t")
    again = later(alone, user)
    drain()
    alone.jobs.erasure.erase_deleted_threads()
    alone.jobs.replication.ship_all()
    # A copy of what was read from the archive, whose index was evicted: nothing lists it.
    damage.put_into_redis(alone, made[0])
    assert set(in_clickhouse(alone, marker_of(user))) == {"messages.content"}
    assert check().differences == []
    alone.jobs.physical_erasure.purge()
    assert places(alone, marker_of(user)) == set()
    assert check().differences == []
    assert listed(alone, user) == [again.id]
    assert alone.jobs.physical_erasure.purge() == Purged()


def later(alone: Services, user: str) -> Message:
    one = message(user, content="opened anew")
    alone.tiers.redis.append([append_of(one)], 60)
    return one


def test_what_is_on_hold_is_not_purged(
    alone: Services, user: str, drain: Callable[[], Drained], write: Callable[..., int]
) -> None:
    (one,) = persisted(alone, drain, user, 1)
    alone.jobs.retention_policies.set(user, "t", legal_hold=True, by="an admin")
    # What other tests left would wait for merges.
    alone.jobs.physical_erasure.purge()
    with unmerged(alone):
        write(revised(one, deleted=True))
        alone.jobs.replication.ship_all()
        assert alone.jobs.physical_erasure.purge() == Purged()
        assert versions(alone, user) == [(one.id, 1), (one.id, 2)]
    alone.jobs.retention_policies.clear(user, "t", by="an admin")
    alone.jobs.physical_erasure.purge()
    assert versions(alone, user) == [(one.id, 2)]
