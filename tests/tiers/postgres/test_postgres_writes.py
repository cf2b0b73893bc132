"""What the persist job writes: the newer version wins, whatever order they come in."""

import itertools
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from models import codec
from models.message import Message, Thread
from models.tables import clickhouse_outbox, messages, threads
from storage.postgres import writes
from storage.threads.page import FIRST_PAGE
from support.data.samples import message, revised
from wiring.process import Services

ORDERS = st.permutations([0, 1, 2, 3])
CUTS = st.sets(st.integers(1, 3))


def upsert(services: Services, *versions: Message) -> int:
    with services.tiers.job_engine.begin() as connection:
        records = [codec.encode(version) for version in versions]
        return writes.upsert_messages(connection, records)


def stored(services: Services, one: Message) -> Message:
    found = services.tiers.postgres.message(one.user_id, one.id)
    assert found is not None
    return found[0]


def count_of(services: Services, one: Message) -> int:
    row = services.tiers.postgres.thread(one.user_id, one.thread_id)
    assert row is not None
    return row.message_count


def queued(services: Services, one: Message) -> int:
    query = select(func.count()).where(clickhouse_outbox.c.message_id == one.id)
    with services.tiers.job_engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def four_versions(*, deleted: bool) -> list[Message]:
    """One message of a new user, its two edits, and a last version that may be a tombstone."""
    first = message(f"user-{secrets.token_hex(8)}")
    edits = [revised(first, version=number) for number in (2, 3)]
    return [first, *edits, revised(first, version=4, deleted=deleted)]


def batches(order: list[int], cuts: set[int]) -> list[list[int]]:
    """An order cut into batches."""
    edges = [0, *sorted(cuts), len(order)]
    return [order[low:high] for low, high in itertools.pairwise(edges)]


@settings(max_examples=60, deadline=None)
@given(order=ORDERS, cuts=CUTS, deleted=st.booleans())
def test_any_order_of_versions_ends_in_the_newest(
    lone_services: Services, order: list[int], cuts: set[int], deleted: bool
) -> None:
    versions = four_versions(deleted=deleted)
    for batch in batches(order, cuts):
        upsert(lone_services, *(versions[at] for at in batch))
    assert stored(lone_services, versions[0]) == versions[3]
    assert codec.is_intact(stored(lone_services, versions[0]))


@settings(max_examples=60, deadline=None)
@given(order=ORDERS, cuts=CUTS, deleted=st.booleans())
def test_any_order_of_versions_is_counted_as_one_message(
    lone_services: Services, order: list[int], cuts: set[int], deleted: bool
) -> None:
    versions = four_versions(deleted=deleted)
    for batch in batches(order, cuts):
        upsert(lone_services, *(versions[at] for at in batch))
    assert count_of(lone_services, versions[0]) == (0 if deleted else 1)


@settings(max_examples=40, deadline=None)
@given(cuts=CUTS, again=st.lists(st.integers(0, 3), max_size=4), deleted=st.booleans())
def test_versions_in_the_order_of_the_log_are_counted_once_however_often_they_come(
    lone_services: Services, cuts: set[int], again: list[int], deleted: bool
) -> None:
    versions = four_versions(deleted=deleted)
    for batch in [*batches([0, 1, 2, 3], cuts), again]:
        upsert(lone_services, *(versions[at] for at in batch))
    assert stored(lone_services, versions[0]) == versions[3]
    assert count_of(lone_services, versions[0]) == (0 if deleted else 1)


def test_another_users_message_is_never_overwritten(lone_services: Services, user: str) -> None:
    mine = message(user)
    upsert(lone_services, mine)
    theirs = codec.seal(msgspec.structs.replace(revised(mine), user_id=f"{user}-other"))
    assert upsert(lone_services, theirs) == 0
    assert stored(lone_services, mine) == mine
    assert lone_services.tiers.postgres.message(theirs.user_id, mine.id) is None
    assert queued(lone_services, mine) == 1


def test_duplicates_in_one_batch_are_one_row(lone_services: Services, user: str) -> None:
    first, other = message(user), message(user)
    second = revised(first)
    assert upsert(lone_services, first, second, first, other, second, other) == 2
    assert stored(lone_services, first) == second
    assert count_of(lone_services, first) == 2
    assert queued(lone_services, first) == queued(lone_services, other) == 1


def test_a_repeated_batch_changes_nothing(lone_services: Services, user: str) -> None:
    first = message(user)
    assert upsert(lone_services, first) == 1
    before = whole_row(lone_services, first)
    assert upsert(lone_services, first, first) == 0
    assert whole_row(lone_services, first) == before
    assert count_of(lone_services, first) == 1
    assert queued(lone_services, first) == 1


def test_rows_and_outbox_are_one_transaction(lone_services: Services, user: str) -> None:
    first = message(user)
    with lone_services.tiers.job_engine.connect() as connection:
        writes.upsert_messages(connection, [codec.encode(first)])
        assert queued(lone_services, first) == 0
        connection.rollback()
    assert lone_services.tiers.postgres.message(user, first.id) is None
    assert lone_services.tiers.postgres.thread(user, "t") is None
    assert queued(lone_services, first) == 0


def test_the_thread_of_a_message_is_made_on_first_sight(lone_services: Services, user: str) -> None:
    first, second = message(user), message(user)
    upsert(lone_services, second, first)
    row = lone_services.tiers.postgres.thread(user, "t")
    assert row is not None
    assert (row.thread.version, row.thread.title, row.message_count) == (1, None, 2)
    assert row.thread.created_at == first.created_at
    assert row.last_message_at == second.created_at


def test_last_activity_never_goes_back(lone_services: Services, user: str) -> None:
    older, newer = message(user), message(user)
    upsert(lone_services, newer)
    upsert(lone_services, older)
    row = lone_services.tiers.postgres.thread(user, "t")
    assert row is not None
    assert row.last_message_at == newer.created_at


def test_what_went_with_its_thread_does_not_come_back(
    lone_services: Services, user: str, write_thread: Callable[[Thread], None]
) -> None:
    gone, later = message(user), message(user)
    write_thread(thread(user, 1, deleted_through=gone.id, deleted_at=gone.created_at))
    assert upsert(lone_services, gone, revised(gone), later) == 1
    assert lone_services.tiers.postgres.message(user, gone.id) is None
    assert count_of(lone_services, later) == 1


def test_a_message_above_the_watermark_opens_the_thread_anew(
    lone_services: Services, user: str, write_thread: Callable[[Thread], None]
) -> None:
    mark, later = message(user), message(user)
    write_thread(thread(user, 1, deleted_through=mark.id, deleted_at=mark.created_at))
    assert lone_services.thread_cache_manager.page(user, FIRST_PAGE).threads == []
    upsert(lone_services, later)
    lone_services.tiers.redis_repair.invalidate_thread_lists([user])
    (summary,) = lone_services.thread_cache_manager.page(user, FIRST_PAGE).threads
    assert (summary.title, summary.message_count) == (None, 1)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (1, 3, 2)])
def test_the_newest_version_of_a_thread_wins(
    lone_services: Services,
    user: str,
    write_thread: Callable[[Thread], None],
    order: tuple[int, ...],
) -> None:
    for version in order:
        write_thread(thread(user, version))
    row = lone_services.tiers.postgres.thread(user, "t")
    assert row is not None
    assert (row.thread.version, row.thread.title) == (3, "title 3")


def test_a_watermark_never_goes_back(
    lone_services: Services, user: str, write_thread: Callable[[Thread], None]
) -> None:
    lower, higher = message(user).id, message(user).id
    write_thread(thread(user, 1, deleted_through=higher))
    write_thread(thread(user, 2, deleted_through=lower))
    write_thread(thread(user, 3))
    row = lone_services.tiers.postgres.thread(user, "t")
    assert row is not None
    assert row.thread.deleted_through == higher


def thread(user: str, version: int, **fields: Any) -> Thread:
    moment = "2026-01-01T00:00:00.000000Z"
    return Thread(
        version=version,
        id="t",
        user_id=user,
        title=f"title {version}",
        metadata={"version": version},
        created_at=moment,
        updated_at=moment,
        **fields,
    )


def whole_row(services: Services, one: Message) -> Any:
    own = threads.c.user_id == one.user_id
    with services.tiers.job_engine.connect() as connection:
        row = connection.execute(select(messages).where(messages.c.id == one.id)).one()
        return row, connection.execute(select(threads).where(own)).all()
